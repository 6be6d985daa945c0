//! The pools, each used as its documentation recommends.

pub(crate) mod bare;
pub(crate) mod bb8;
pub(crate) mod connpool;
pub(crate) mod deadpool;
pub(crate) mod fast_pool;
#[expect(deprecated, reason = "succeeded by asyncband, which has the same pool")]
pub(crate) mod fastpool;
pub(crate) mod mobc;
pub(crate) mod qp;
pub(crate) mod r2d2;
pub(crate) mod sqlx;
