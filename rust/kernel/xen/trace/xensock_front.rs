// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of the XenSock frontend.
//!
//! C header: [`include/trace/events/xensock_front.h`](srctree/include/trace/events/xensock_front.h)

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
    /// `device` and `state` must be valid strings.
    unsafe fn xensock_link(
        device: *const c_char,
        backend: c_uint,
        state: *const c_char,
        error: c_int,
    );

    /// # Safety
    ///
    /// `command` must be a valid string.
    unsafe fn xensock_request(req_id: u32, command: *const c_char, id: u64);

    /// # Safety
    ///
    /// `command` must be a valid string.
    unsafe fn xensock_response(req_id: u32, command: *const c_char, id: u64, error: c_int);

    /// # Safety
    ///
    /// `device` must be a valid string, and `local` and `peer` must point to initialised objects.
    unsafe fn xensock_connect(
        device: *const c_char,
        id: u64,
        local: *const bindings::sockaddr_in6,
        peer: *const bindings::sockaddr_in6,
        error: c_int,
    );

    /// # Safety
    ///
    /// `device` must be a valid string, and `local` and `peer` must point to initialised objects.
    unsafe fn xensock_accept(
        device: *const c_char,
        id: u64,
        local: *const bindings::sockaddr_in6,
        peer: *const bindings::sockaddr_in6,
        error: c_int,
    );

    /// # Safety
    ///
    /// `reason` and `transport` must be valid strings, and `addr` must point to an initialised
    /// object.
    unsafe fn xensock_decision(
        reason: *const c_char,
        transport: *const c_char,
        addr: *const bindings::sockaddr_in6,
    );

    /// # Safety
    ///
    /// No requirements.
    unsafe fn xensock_resize(id: u64, out: bool, bytes: u32, error: c_int);

    /// # Safety
    ///
    /// `what` must be a valid string.
    unsafe fn xensock_error(id: u64, error: c_int, what: *const c_char);
}

/// Traces a change of the state of the link with a backend, and the error that caused it, if any.
#[inline]
pub fn link(device: &CStr, backend: DomId, state: &'static CStr, result: Result) {
    // SAFETY: `device` and `state` are valid strings.
    unsafe {
        xensock_link(
            device.as_char_ptr(),
            backend.as_raw().into(),
            state.as_char_ptr(),
            errno(result),
        )
    };
}

/// Traces the sending of a request about the socket `id`.
#[inline]
pub fn request(req_id: u32, command: &'static CStr, id: u64) {
    // SAFETY: `command` is a valid string.
    unsafe { xensock_request(req_id, command.as_char_ptr(), id) };
}

/// Traces the response to a request about the socket `id`.
#[inline]
pub fn response(req_id: u32, command: &'static CStr, id: u64, result: Result) {
    // SAFETY: `command` is a valid string.
    unsafe { xensock_response(req_id, command.as_char_ptr(), id, errno(result)) };
}

/// Traces the success or failure of connecting a stream socket.
#[inline]
pub fn connect(
    device: &CStr,
    id: u64,
    local: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    result: Result,
) {
    if is_traced!(xensock_connect) {
        let (local, peer) = (buf(local), buf(peer));

        // SAFETY: `device` is a valid string, and `local` and `peer` are fully initialised and have
        // room for any of the internet families.
        unsafe {
            xensock_connect(
                device.as_char_ptr(),
                id,
                local.as_ptr().cast(),
                peer.as_ptr().cast(),
                errno(result),
            )
        };
    }
}

/// Traces the success or failure of accepting a connection.
#[inline]
pub fn accept(
    device: &CStr,
    id: u64,
    local: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    result: Result,
) {
    if is_traced!(xensock_accept) {
        let (local, peer) = (buf(local), buf(peer));

        // SAFETY: `device` is a valid string, and `local` and `peer` are fully initialised and have
        // room for any of the internet families.
        unsafe {
            xensock_accept(
                device.as_char_ptr(),
                id,
                local.as_ptr().cast(),
                peer.as_ptr().cast(),
                errno(result),
            )
        };
    }
}

/// Traces the decision between the backend and the guest's own TCP or UDP for a program's socket:
/// its reason, the transport protocol, and the address that it concerns, if any.
#[inline]
pub fn decision(reason: &'static CStr, transport: &'static CStr, addr: Option<SocketAddr>) {
    if is_traced!(xensock_decision) {
        let addr = buf(addr);

        // SAFETY: `reason` and `transport` are valid strings, and `addr` is fully initialised and
        // has room for any of the internet families.
        unsafe {
            xensock_decision(
                reason.as_char_ptr(),
                transport.as_char_ptr(),
                addr.as_ptr().cast(),
            )
        };
    }
}

/// Traces an attempt to resize one direction of a data ring to `bytes` bytes.
#[inline]
pub fn resize(id: u64, out: bool, bytes: u32, result: Result) {
    // SAFETY: `xensock_resize()` has no safety requirements.
    unsafe { xensock_resize(id, out, bytes, errno(result)) };
}

/// Traces the end of a socket whose backend has broken a rule, has ended the socket, or has gone.
#[inline]
pub fn error(id: u64, error: Error, what: &'static CStr) {
    // SAFETY: `what` is a valid string.
    unsafe { xensock_error(id, error.to_errno(), what.as_char_ptr()) };
}
