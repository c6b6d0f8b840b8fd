// SPDX-License-Identifier: GPL-2.0

//! Messages: the arguments of sendmsg(2) and recvmsg(2).
//!
//! C header: [`include/linux/socket.h`](srctree/include/linux/socket.h)

mod control;

pub use self::control::{
    Control,
    ControlBuf,
    Controls, //
};

use crate::{
    bindings,
    error::to_result,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    net::addr::{
        RawAddr,
        SockAddrBuf, //
    },
    prelude::*,
    types::Opaque, //
};

use core::net::SocketAddr;

/// Flags of messages.
pub mod msg {
    use crate::bindings;

    /// Out-of-band data.
    pub const OOB: u32 = bindings::MSG_OOB;
    /// Read data without removing it.
    pub const PEEK: u32 = bindings::MSG_PEEK;
    /// Receive: discard the data instead of copying it (streams), or return its real length.
    pub const TRUNC: u32 = bindings::MSG_TRUNC;
    /// Send nothing; only what this needs, such as the route, is looked up.
    pub const PROBE: u32 = bindings::MSG_PROBE;
    /// Do not block.
    pub const DONTWAIT: u32 = bindings::MSG_DONTWAIT;
    /// Receive: wait for the full amount of data.
    pub const WAITALL: u32 = bindings::MSG_WAITALL;
    /// Receive from the error queue.
    pub const ERRQUEUE: u32 = bindings::MSG_ERRQUEUE;
    /// Do not send `SIGPIPE`.
    pub const NOSIGNAL: u32 = bindings::MSG_NOSIGNAL;
    /// More data follows.
    pub const MORE: u32 = bindings::MSG_MORE;
    /// The program will not change the data until it is notified that the data is no longer in use.
    pub const ZEROCOPY: u32 = bindings::MSG_ZEROCOPY;
    /// Connect and send data in one call.
    pub const FASTOPEN: u32 = bindings::MSG_FASTOPEN;
}

/// A message that is being sent or received.
///
/// May only be used during the call that it was passed to, in process context.
///
/// # Invariants
///
/// - The `struct msghdr` is valid. Its iterator may be used to copy data from it (in a message that
///   is being sent) or to it (in a message that is being received), and knows its own direction.
/// - `msg_name` is null or points to a `struct sockaddr_storage`, whose first `msg_namelen` bytes
///   are initialised.
/// - In a message that is being sent, `msg_control` points to `msg_controllen` initialised bytes in
///   the kernel that do not change, unless the message says that they are in user space.
#[repr(transparent)]
pub struct MsgHdr(Opaque<bindings::msghdr>);

impl MsgHdr {
    /// Creates a reference to a [`MsgHdr`] from a valid pointer.
    ///
    /// # Safety
    ///
    /// For the duration of `'a`:
    ///
    /// - `ptr` must point to a `struct msghdr` as the socket layer passes it to `sendmsg` or
    ///   `recvmsg` of a `struct proto_ops`;
    /// - if the message is being received, its `msg_namelen` must be 0, as nothing is stored yet;
    /// - the `struct msghdr` must only be accessed through the returned reference.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::msghdr) -> &'a mut Self {
        // SAFETY: The pointer is valid by the safety requirements and `Self` has the same layout.
        //
        // INVARIANT: The socket layer passes messages to these functions that fulfil the type
        // invariants.
        unsafe { &mut *ptr.cast() }
    }

    /// Returns the raw `struct msghdr`.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::msghdr {
        self.0.get()
    }

    /// Returns the flags (see [`msg`]): the request in a message that is being sent, the result in
    /// a message that is being received.
    #[inline]
    pub fn flags(&self) -> u32 {
        // SAFETY: The message is valid by the type invariants.
        unsafe { (*self.as_raw()).msg_flags }
    }

    /// Returns `true` if the sender has provided its own completion notification (`msg_ubuf`), as
    /// io_uring does. If the data is copied, the sender is notified without our doing.
    #[inline]
    pub(in crate::net) fn has_ubuf(&self) -> bool {
        // SAFETY: The message is valid by the type invariants.
        unsafe { !(*self.as_raw()).msg_ubuf.is_null() }
    }

    /// Adds flags.
    #[inline]
    pub fn add_flags(&mut self, flags: u32) {
        // SAFETY: The message is valid by the type invariants and we have exclusive access.
        unsafe { (*self.as_raw()).msg_flags |= flags };
    }

    /// Returns the destination address of a message that is being sent, if it has one, or the
    /// address that [`Self::set_name`] has stored in a message that is being received. The address
    /// may be empty, which is different from [`None`].
    pub fn name(&self) -> Option<RawAddr<'_>> {
        // SAFETY: The message is valid by the type invariants.
        let (name, len) = unsafe { ((*self.as_raw()).msg_name, (*self.as_raw()).msg_namelen) };
        if name.is_null() {
            return None;
        }
        // SAFETY: By the type invariants, `len` bytes at `name` are initialised, and they are not
        // written to while `self` is borrowed.
        unsafe { RawAddr::from_raw(name.cast(), len) }.ok()
    }

    /// Sets the source address of a message that is being received, or replaces the destination of
    /// one that is being sent.
    ///
    /// Does nothing if the caller has not asked for the address, or the message has none.
    pub fn set_name(&mut self, addr: SocketAddr) {
        // SAFETY: The message is valid by the type invariants.
        let name = unsafe { (*self.as_raw()).msg_name };
        if name.is_null() {
            return;
        }

        let addr = SockAddrBuf::from(addr);
        let bytes = addr.as_bytes();

        // SAFETY: By the type invariants, there is room for a `struct sockaddr_storage`, which is
        // larger than any `SockAddrBuf` and to which we have exclusive access.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), name.cast(), bytes.len()) };
        // SAFETY: The message is valid by the type invariants and we have exclusive access.
        //
        // INVARIANT: That many bytes were stored just above.
        unsafe { (*self.as_raw()).msg_namelen = addr.c_len() };
    }

    /// Returns the control messages of a message that is being sent.
    pub fn controls(&self) -> Controls<'_> {
        Controls::new(self.control_bytes())
    }

    /// Returns the bytes of the control messages of a message that is being sent.
    pub(in crate::net) fn control_bytes(&self) -> &[u8] {
        // SAFETY: The message is valid by the type invariants.
        let msg = unsafe { &*self.as_raw() };
        // SAFETY: Both members of the union are pointers.
        let data = unsafe { msg.__bindgen_anon_1.msg_control };

        let is_sent = u32::from(msg.msg_iter.data_source) == bindings::ITER_SOURCE;
        if !is_sent || msg.msg_control_is_user() || data.is_null() {
            return &[];
        }
        // SAFETY: By the type invariants, there are `msg_controllen` initialised bytes, which do
        // not change during the call that `self` was passed to.
        unsafe { core::slice::from_raw_parts(data.cast(), msg.msg_controllen) }
    }

    /// Returns `true` if a message that is being sent has control messages, or a message that is
    /// being received has room for them.
    #[inline]
    pub fn wants_control(&self) -> bool {
        // SAFETY: The message is valid by the type invariants.
        unsafe { (*self.as_raw()).msg_controllen != 0 }
    }

    /// Returns `true` if the receiver wants [`Self::set_unread`], as io_uring does.
    #[inline]
    pub fn wants_unread(&self) -> bool {
        // SAFETY: The message is valid by the type invariants.
        unsafe { &*self.as_raw() }.msg_get_inq()
    }

    /// Sets the number of bytes that can be received after this message.
    #[inline]
    pub fn set_unread(&mut self, bytes: i32) {
        // SAFETY: The message is valid by the type invariants and we have exclusive access.
        unsafe { (*self.as_raw()).msg_inq = bytes };
    }

    /// Appends a control message to a message that is being received. If there is not enough room,
    /// it is truncated and `MSG_CTRUNC` is set in the result.
    ///
    /// # Errors
    ///
    /// Returns `EFAULT` if the program's buffer is not accessible.
    pub fn put_control(&mut self, level: i32, kind: i32, data: &[u8]) -> Result {
        let len = c_int::try_from(data.len()).map_err(|_| EINVAL)?;

        // SAFETY: The message is valid by the type invariants, and `data` has `len` bytes, which
        // are only read.
        to_result(unsafe {
            bindings::put_cmsg(
                self.as_raw(),
                level,
                kind,
                len,
                data.as_ptr().cast_mut().cast(),
            )
        })
    }

    /// Returns the data of a message that is being sent.
    ///
    /// # Panics
    ///
    /// Panics if the message is being received.
    #[inline]
    #[track_caller]
    pub fn source(&mut self) -> &mut IovIterSource<'_> {
        // SAFETY: By the type invariants the iterator is valid and may be used, and it is not used
        // otherwise while `self` is borrowed. The callee checks its direction.
        unsafe { IovIterSource::from_raw(&raw mut (*self.as_raw()).msg_iter) }
    }

    /// Returns the destination for the data of a message that is being received.
    ///
    /// # Panics
    ///
    /// Panics if the message is being sent.
    #[inline]
    #[track_caller]
    pub fn dest(&mut self) -> &mut IovIterDest<'_> {
        // SAFETY: By the type invariants the iterator is valid and may be used, and it is not used
        // otherwise while `self` is borrowed. The callee checks its direction.
        unsafe { IovIterDest::from_raw(&raw mut (*self.as_raw()).msg_iter) }
    }
}
