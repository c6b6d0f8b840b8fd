// SPDX-License-Identifier: GPL-2.0

//! The XenSock protocol: wire formats, ring arithmetic and state machines.
//!
//! The normative text is `Documentation/networking/xensock/protocol.rst`. This module is its only
//! implementation, shared by frontend, backend, KUnit and the tests on the host (`tools/hosttest`).
//! Each of them includes it as `#[path = "..."] pub mod proto;`, so:
//!
//! - it is `core` only: no allocation, no `kernel::`, no I/O, no clock, and paths are relative;
//! - it has no `unsafe` code, and no state of its own but the indexes of a [`stream`].
//!
//! # Trust
//!
//! The caller copies all data from memory that the other domain can write, once, and passes only
//! the copy to this module. Nothing here panics on any input: arithmetic on such values is wrapping
//! or checked on purpose, and every field is validated or documented as opaque.
//!
//! # Objects
//!
//! - [`Dialect`] is one of the two variants of the protocol. The codec handles the differences in
//!   format, and the drivers handle the others by their `Quirks`.
//! - [`feature::Features`] are the optional parts of a link beyond version 1, from nodes of their
//!   own.
//! - [`request::Request`] and [`response::Response`] are the slots of the *commands ring*: one ring
//!   per link, 64-byte slots, requests from frontend to backend. A request is a [`call::Call`].
//! - [`option`] lists the options of sockets that are carried, each of a [`level`], and [`value`]
//!   has their values, which may come in [`pieces`].
//! - [`indexes`] is the layout of the page which each connection has for its *data ring*, and
//!   [`ring`] the arithmetic of the free-running indexes in it.
//! - [`frame`] is the form of datagrams in such a ring, [`info`] the information that may go with
//!   them, and [`report`] an error that the network has reported on one. [`control`] converts the
//!   information to and from the control messages of programs and Linux, and reports from Linux's.
//! - [`news`] is the page that tells which rings have news, if they share one event channel.
//! - [`status`] has the words of that page which report the outcome of CONNECT and ACCEPT.
//! - [`stream`] is the order of loads, stores and barriers around those indexes, written once for
//!   both ends and for the models that check it: [`producer::Producer`], [`consumer::Consumer`].
//! - [`mover`] decides who moves the bytes of a connection at the backend, [`attention`] when the
//!   frontend wants an event with a response.
//! - [`urgent`] has the words by which the two ends mark urgent bytes in a stream.
//! - [`link`] decides the next step of each end, given its own xenbus state and that of the other
//!   end.
//! - [`node`] names the xenstore nodes, [`errno`] the error numbers, [`addr`] the addresses.
//! - [`native`] lists the options that only a socket of the guest's own TCP or UDP can have.
//! - [`policy`] limits what a guest may do at the backend, by [`rule`]s about addresses and ports;
//!   [`backlog`] shares a limit on waiting connections among its listeners.
//! - [`owner`] shares the limits of a guest among its users. [`shortage`] notes the users that have
//!   to give something back. [`turns`] orders their requests in the commands ring, and [`spare`]
//!   bounds the data rings that they leave for later connections.

#![forbid(unsafe_code)]

pub mod addr;
pub mod arrivals;
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
pub mod indexes;
pub mod info;
pub mod level;
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
pub mod shortage;
pub mod spare;
pub mod status;
pub mod stream;
pub mod turns;
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
    request::{
        Malformed,
        Request, //
    },
    response::{
        Body,
        Response, //
    },
};
