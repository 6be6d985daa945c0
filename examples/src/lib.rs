//! Nothing but the README, so that every example in it is compiled and run as a test.
#![doc = include_str!("../../README.md")]
