// SPDX-License-Identifier: GPL-2.0

//! The XenSock protocol: wire formats, ring arithmetic and state machines.
//!
//! The normative text is `Documentation/networking/xensock/protocol.rst`; this module is its only
//! implementation, shared by frontend, backend, KUnit and the tests on the host
//! (`tools/hosttest`). Each of them includes it as `#[path = "..."] pub mod proto;`, so:
//!
//! - it is `core` only: no allocation, no `kernel::`, no I/O, no clock, and paths are relative;
//! - it has no `unsafe` code, and no state of its own but the indexes of a [`stream`].
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
//! - [`feature::Features`] are what a link has beyond version 1, from nodes of their own.
//! - [`request::Request`] and [`response::Response`] are the slots of the *commands ring*: one per
//!   link, 64-byte slots, requests from frontend to backend. A request is a [`call::Call`].
//! - [`option`] lists the options of sockets that are carried, and [`value`] are their values, which
//!   may come in [`pieces`].
//! - [`id::Handle`] is how an end makes the opaque numbers which name sockets on the wire.
//! - [`indexes`] is the layout of the page which each connection has for its *data ring*, and
//!   [`ring`] the arithmetic of the free-running indexes in it.
//! - [`frame`] is how datagrams lie in such a ring, and [`info`] what may go with them; [`control`] is
//!   how programs and Linux say that.
//! - [`status`] are the words of that page through which CONNECT and ACCEPT end.
//! - [`stream`] is the order of loads, stores and barriers around those indexes, written once for
//!   both ends and for the models that check it: [`producer::Producer`], [`consumer::Consumer`].
//! - [`mover`] is whose turn it is to move the bytes of a connection at the backend, [`attention`] when
//!   the frontend wants to be told of an answer.
//! - [`urgent`] is what the two ends say to each other of urgent bytes in a stream.
//! - [`link`] is what each end does next, given its own xenbus state and that of the other end.
//! - [`node`] names the xenstore nodes, [`errno`] the error numbers, [`addr`] the addresses.
//! - [`native`] lists the options that only a socket of the guest's own can have.
//! - [`policy`] is what the backend lets a guest do, in terms of [`rule`]s about addresses and ports;
//!   [`backlog`] how its listeners share what may wait.

#![forbid(unsafe_code)]

pub mod addr;
pub mod attention;
pub mod backlog;
mod bytes;
pub mod call;
pub mod consumer;
pub mod control;
pub mod dialect;
pub mod errno;
pub mod feature;
pub mod frame;
pub mod id;
pub mod indexes;
pub mod info;
pub mod link;
pub mod mover;
pub mod native;
pub mod news;
pub mod node;
pub mod option;
pub mod owner;
pub mod pieces;
pub mod policy;
pub mod producer;
pub mod report;
pub mod request;
pub mod response;
pub mod ring;
pub mod rule;
pub mod status;
pub mod stream;
pub mod urgent;
pub mod value;

pub use self::{
    bytes::SLOT,
    call::{
        Call,
        RingRef,
        Way, //
    },
    dialect::{
        Command,
        Dialect, //
    },
    feature::{
        Feature,
        Features, //
    },
    id::Handle,
    request::{
        Malformed,
        Request, //
    },
    response::{
        Body,
        Response, //
    },
};
