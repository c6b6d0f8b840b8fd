// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of XenSock in the guest.
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
    /// `device` and `state` are strings.
    unsafe fn xensock_link(
        device: *const c_char,
        backend: c_uint,
        state: *const c_char,
        error: c_int,
    );

    /// # Safety
    ///
    /// `command` is a string.
    unsafe fn xensock_request(req_id: u32, command: *const c_char, id: u64);

    /// # Safety
    ///
    /// `command` is a string.
    unsafe fn xensock_response(req_id: u32, command: *const c_char, id: u64, error: c_int);

    /// # Safety
    ///
    /// `device` is a string, and `local` and `peer` point to initialised objects.
    unsafe fn xensock_connect(
        device: *const c_char,
        id: u64,
        local: *const bindings::sockaddr_in6,
        peer: *const bindings::sockaddr_in6,
        error: c_int,
    );

    /// # Safety
    ///
    /// `device` is a string, and `local` and `peer` point to initialised objects.
    unsafe fn xensock_accept(
        device: *const c_char,
        id: u64,
        local: *const bindings::sockaddr_in6,
        peer: *const bindings::sockaddr_in6,
        error: c_int,
    );

    /// # Safety
    ///
    /// `reason` and `transport` are strings, and `addr` points to an initialised object.
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
    /// `what` is a string.
    unsafe fn xensock_error(id: u64, error: c_int, what: *const c_char);
}

/// The link with a backend is in another state, which is named, perhaps for an error.
#[inline]
pub fn link(device: &CStr, backend: DomId, state: &'static CStr, result: Result) {
    // SAFETY: The strings are such.
    unsafe {
        xensock_link(
            device.as_char_ptr(),
            backend.as_raw().into(),
            state.as_char_ptr(),
            errno(result),
        )
    };
}

/// A request about the socket `id` was sent.
#[inline]
pub fn request(req_id: u32, command: &'static CStr, id: u64) {
    // SAFETY: The string is one.
    unsafe { xensock_request(req_id, command.as_char_ptr(), id) };
}

/// That request was answered.
#[inline]
pub fn response(req_id: u32, command: &'static CStr, id: u64, result: Result) {
    // SAFETY: The string is one.
    unsafe { xensock_response(req_id, command.as_char_ptr(), id, errno(result)) };
}

/// A stream socket is connected, or is not.
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

        // SAFETY: The string is one, and an address has room for any of the internet families, all of
        // it initialised.
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

/// A connection was accepted, or cannot be.
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

        // SAFETY: The string is one, and an address has room for any of the internet families, all of
        // it initialised.
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

/// It was decided whose a program's socket is.
#[inline]
pub fn decision(reason: &'static CStr, transport: &'static CStr, addr: Option<SocketAddr>) {
    if is_traced!(xensock_decision) {
        let addr = buf(addr);

        // SAFETY: The strings are such, and an address has room for any of the internet families,
        // all of it initialised.
        unsafe {
            xensock_decision(
                reason.as_char_ptr(),
                transport.as_char_ptr(),
                addr.as_ptr().cast(),
            )
        };
    }
}

/// A direction of a data ring was to become so large.
#[inline]
pub fn resize(id: u64, out: bool, bytes: u32, result: Result) {
    // SAFETY: No requirements.
    unsafe { xensock_resize(id, out, bytes, errno(result)) };
}

/// A socket was ended for what the backend has done.
#[inline]
pub fn error(id: u64, error: Error, what: &'static CStr) {
    // SAFETY: The string is one.
    unsafe { xensock_error(id, error.to_errno(), what.as_char_ptr()) };
}
