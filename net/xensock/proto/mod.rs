// SPDX-License-Identifier: GPL-2.0

//! The XenSock protocol: wire formats, ring arithmetic and state machines.
//!
//! The normative text is `Documentation/networking/xensock/protocol.rst`; this module is its only
//! implementation, shared by frontend, backend, KUnit and the tests on the host
//! (`tools/hosttest`). Each of them includes it as `#[path = "..."] pub mod proto;`, so:
//!
//! - it is `core` only: no allocation, no `kernel::`, no I/O, no clock, and paths are relative;
//! - it has no `unsafe` code and no state of its own: every function maps values to values.
//!
//! # Trust
//!
//! Whatever comes out of memory that the other domain can write is copied once, by the caller, and
//! only then given to this module. Nothing here panics on any input: arithmetic on such values is
//! wrapping or checked on purpose, and every field is validated or documented as opaque.
//!
//! # Objects
//!
//! - [`Dialect`] says which of the two device types a link speaks; only the codec looks at it.
//! - [`request::Request`] and [`response::Response`] are the slots of the *commands ring*: one per
//!   link, 64-byte slots, requests from frontend to backend.
//! - [`id::Handle`] is how an end makes the opaque numbers which name sockets on the wire.
//! - [`indexes`] is the layout of the page which each connection has for its *data ring*, and
//!   [`ring`] the arithmetic of the free-running indexes in it.
//! - [`stream`] is the order of loads, stores and barriers around those indexes, written once for
//!   both ends and for the models that check it.
//! - [`link`] is what each end does next, given its own xenbus state and that of the other end.
//! - [`node`] names the xenstore nodes, [`errno`] the error numbers, [`addr`] the addresses.

#![forbid(unsafe_code)]

pub mod addr;
mod bytes;
pub mod dialect;
pub mod errno;
pub mod id;
pub mod indexes;
pub mod link;
pub mod node;
pub mod request;
pub mod response;
pub mod ring;
pub mod stream;

pub use self::{
    bytes::SLOT,
    dialect::{
        Command,
        Dialect, //
    },
    id::Handle,
    request::{
        Call,
        Malformed,
        Request,
        RingRef, //
    },
    response::Response,
};
