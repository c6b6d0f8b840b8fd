// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of the XenSock backend.
//!
//! C header: [`include/trace/events/xensock.h`](srctree/include/trace/events/xensock.h)

use super::{
    buf,
    errno, //
};

use crate::{
    bindings,
    prelude::*,
    tracepoint::declare_trace,
    xen::DomId, //
};

use core::net::SocketAddr;

declare_trace! {
    /// # Safety
    ///
    /// `reason` must be a valid string, and `addr` must point to an initialised object.
    unsafe fn xensock_refused(
        guest: c_uint,
        reason: *const c_char,
        error: c_int,
        addr: *const bindings::sockaddr_in6,
    );

    /// # Safety
    ///
    /// `state` must be a valid string.
    unsafe fn xensock_back_link(guest: c_uint, state: *const c_char, error: c_int);

    /// # Safety
    ///
    /// `command` must be a valid string.
    unsafe fn xensock_back_command(
        guest: c_uint,
        req_id: u32,
        command: *const c_char,
        id: u64,
        error: c_int,
    );

    /// # Safety
    ///
    /// `local` and `peer` must point to initialised objects.
    unsafe fn xensock_back_connect(
        guest: c_uint,
        id: u64,
        local: *const bindings::sockaddr_in6,
        peer: *const bindings::sockaddr_in6,
        error: c_int,
    );

    /// # Safety
    ///
    /// `local` and `peer` must point to initialised objects.
    unsafe fn xensock_back_accept(
        guest: c_uint,
        id: u64,
        local: *const bindings::sockaddr_in6,
        peer: *const bindings::sockaddr_in6,
        error: c_int,
    );

    /// # Safety
    ///
    /// `what` must be a valid string.
    unsafe fn xensock_back_error(guest: c_uint, what: *const c_char);
}

/// Traces the refusal of a guest's request, with its reason and error, and the address that the
/// request was about, if any.
#[inline]
pub fn refused(guest: DomId, reason: &'static CStr, error: Error, addr: Option<&SocketAddr>) {
    if is_traced!(xensock_refused) {
        let addr = buf(addr.copied());

        // SAFETY: `reason` is a valid string, and `addr` is fully initialised and has room for any
        // of the internet families.
        unsafe {
            xensock_refused(
                guest.as_raw().into(),
                reason.as_char_ptr(),
                error.to_errno(),
                addr.as_ptr().cast(),
            )
        };
    }
}

/// Traces a change of the state of the link with a guest, and the error that caused it, if any.
#[inline]
pub fn link(guest: DomId, state: &'static CStr, result: Result) {
    // SAFETY: `state` is a valid string.
    unsafe { xensock_back_link(guest.as_raw().into(), state.as_char_ptr(), errno(result)) };
}

/// Traces the response to a request about the socket `id`, with `error` as sent to the guest.
#[inline]
pub fn command(
    guest: DomId,
    req_id: u32,
    command: impl FnOnce() -> &'static CStr,
    id: u64,
    error: i32,
) {
    if is_traced!(xensock_back_command) {
        // SAFETY: `command()` returns a valid string.
        unsafe {
            xensock_back_command(
                guest.as_raw().into(),
                req_id,
                command().as_char_ptr(),
                id,
                error,
            )
        };
    }
}

/// Traces the success or failure of a connection attempt.
#[inline]
pub fn connect(
    guest: DomId,
    id: u64,
    local: Option<SocketAddr>,
    peer: SocketAddr,
    outcome: Result,
) {
    if is_traced!(xensock_back_connect) {
        let (local, peer) = (buf(local), buf(Some(peer)));

        // SAFETY: `local` and `peer` are fully initialised and have room for any of the internet
        // families.
        unsafe {
            xensock_back_connect(
                guest.as_raw().into(),
                id,
                local.as_ptr().cast(),
                peer.as_ptr().cast(),
                errno(outcome),
            )
        };
    }
}

/// Traces the arrival of a connection at the place that a guest has prepared for it.
#[inline]
pub fn accept<F>(guest: DomId, id: u64, local: F, peer: SocketAddr)
where
    F: FnOnce() -> Option<SocketAddr>,
{
    if is_traced!(xensock_back_accept) {
        let (local, peer) = (buf(local()), buf(Some(peer)));

        // SAFETY: `local` and `peer` are fully initialised and have room for any of the internet
        // families.
        unsafe {
            xensock_back_accept(
                guest.as_raw().into(),
                id,
                local.as_ptr().cast(),
                peer.as_ptr().cast(),
                0,
            )
        };
    }
}

/// Traces a protocol violation by a guest.
#[inline]
pub fn error(guest: DomId, what: &CStr) {
    // SAFETY: `what` is a valid string.
    unsafe { xensock_back_error(guest.as_raw().into(), what.as_char_ptr()) };
}
