//! What the examples share, a Redis server of one's own among it. And the README, so that every
//! example in it is compiled and run as a test.
#![doc = include_str!("../../README.md")]

pub mod args;
pub mod moody;
pub mod redis;
pub mod redis_server;
pub mod resp;
pub mod server;
