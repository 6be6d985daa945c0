//! Each file in `tests/mistakes` has one mistake, and beside it the message of the compiler.
//!
//! The messages are those of the toolchain that CI uses. `TRYBUILD=overwrite` writes them anew.

#[test]
fn each_mistake_is_rejected_with_its_remedy() {
    trybuild::TestCases::new().compile_fail("tests/mistakes/*.rs");
}
