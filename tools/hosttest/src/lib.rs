// SPDX-License-Identifier: GPL-2.0

//! The pure parts of XenSock as an ordinary crate, so that `cargo test` can reach them.

#![no_std]

#[path = "../../../net/xensock/proto/mod.rs"]
pub mod proto;
