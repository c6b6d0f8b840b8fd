// SPDX-License-Identifier: GPL-2.0

//! Messages: what sendmsg(2) and recvmsg(2) pass around.
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

/// The flags of messages.
pub mod msg {
    use crate::bindings;

    /// Out-of-band data.
    pub const OOB: u32 = bindings::MSG_OOB;
    /// Look at the data but leave them where they are.
    pub const PEEK: u32 = bindings::MSG_PEEK;
    /// Do not route.
    pub const DONTROUTE: u32 = bindings::MSG_DONTROUTE;
    /// Set in the answer: control data were cut off.
    pub const CTRUNC: u32 = bindings::MSG_CTRUNC;
    /// Receive: drop the data instead of copying them (streams), or return their real length.
    pub const TRUNC: u32 = bindings::MSG_TRUNC;
    /// Do not block.
    pub const DONTWAIT: u32 = bindings::MSG_DONTWAIT;
    /// End of a record.
    pub const EOR: u32 = bindings::MSG_EOR;
    /// Receive: wait until all that was asked for is there.
    pub const WAITALL: u32 = bindings::MSG_WAITALL;
    /// Receive from the error queue.
    pub const ERRQUEUE: u32 = bindings::MSG_ERRQUEUE;
    /// Do not send `SIGPIPE`.
    pub const NOSIGNAL: u32 = bindings::MSG_NOSIGNAL;
    /// More will be sent soon.
    pub const MORE: u32 = bindings::MSG_MORE;
    /// The data may be used in place, without being copied.
    pub const SPLICE_PAGES: u32 = bindings::MSG_SPLICE_PAGES;
    /// The program will wait until the data are no longer in use.
    pub const ZEROCOPY: u32 = bindings::MSG_ZEROCOPY;
    /// Connect with the data.
    pub const FASTOPEN: u32 = bindings::MSG_FASTOPEN;
}

/// A message that is being sent or received.
///
/// May be used where the call runs that it was passed to: in process context.
///
/// # Invariants
///
/// - The `struct msghdr` is valid. Its iterator may be used to copy data from it (in a message that
///   is being sent) or to it (in one that is being received), and says itself which.
/// - `msg_name` is null or points to a `struct sockaddr_storage`, whose first `msg_namelen` bytes
///   are initialised in a message that is being sent.
/// - In a message that is being sent, `msg_control` points to `msg_controllen` initialised bytes of
///   the kernel's own, which nobody changes, unless the message says that they are a program's.
#[repr(transparent)]
pub struct MsgHdr(Opaque<bindings::msghdr>);

impl MsgHdr {
    /// Creates a reference to a [`MsgHdr`] from a valid pointer.
    ///
    /// # Safety
    ///
    /// For the duration of `'a`:
    ///
    /// - `ptr` must point to a `struct msghdr` as the socket layer gives it to `sendmsg` or
    ///   `recvmsg` of a `struct proto_ops`;
    /// - it must be accessed in no other way than by the returned reference.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::msghdr) -> &'a mut Self {
        // SAFETY: The pointer is valid by the safety requirements and `Self` has the same layout.
        //
        // INVARIANT: This is how the socket layer calls those functions.
        unsafe { &mut *ptr.cast() }
    }

    /// Returns the raw `struct msghdr`.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::msghdr {
        self.0.get()
    }

    /// Returns the flags (see [`msg`]): what the caller asks for in a message that is being sent,
    /// what the answer says in one that is being received.
    #[inline]
    pub fn flags(&self) -> u32 {
        // SAFETY: The message is valid by the type invariants.
        unsafe { (*self.as_raw()).msg_flags }
    }

    /// Returns whether who sends the message has said how to be told that the data are not in use
    /// any more, and is told without us if they are copied. io_uring does so.
    #[inline]
    pub fn has_notice(&self) -> bool {
        // SAFETY: The message is valid by the type invariants.
        unsafe { !(*self.as_raw()).msg_ubuf.is_null() }
    }

    /// Adds flags.
    #[inline]
    pub fn add_flags(&mut self, flags: u32) {
        // SAFETY: The message is valid by the type invariants and we have exclusive access.
        unsafe { (*self.as_raw()).msg_flags |= flags };
    }

    /// Returns the address that a message that is being sent shall go to, if it has one: it may be
    /// empty, which is not the same as none.
    pub fn name(&self) -> Option<RawAddr<'_>> {
        // SAFETY: The message is valid by the type invariants.
        let (name, len) = unsafe { ((*self.as_raw()).msg_name, (*self.as_raw()).msg_namelen) };
        if name.is_null() {
            return None;
        }
        // SAFETY: By the type invariants so many bytes are initialised, and they are not written
        // to while `self` is borrowed.
        unsafe { RawAddr::from_raw(name.cast(), len) }.ok()
    }

    /// Says whom a message that is being received is from.
    ///
    /// Does nothing if the caller does not ask.
    pub fn set_name(&mut self, addr: SocketAddr) {
        // SAFETY: The message is valid by the type invariants.
        let name = unsafe { (*self.as_raw()).msg_name };
        if name.is_null() {
            return;
        }

        let addr = SockAddrBuf::from(addr);
        let bytes = addr.as_bytes();

        // SAFETY: By the type invariants there is room for a `struct sockaddr_storage`, to which
        // we have exclusive access and which is larger than any `SockAddrBuf`.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), name.cast(), bytes.len()) };
        // SAFETY: The message is valid by the type invariants and we have exclusive access.
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
        // SAFETY: Both members of the union are a pointer.
        let data = unsafe { msg.__bindgen_anon_1.msg_control };

        let is_sent = u32::from(msg.msg_iter.data_source) == bindings::ITER_SOURCE;
        if !is_sent || msg.msg_control_is_user() || data.is_null() {
            return &[];
        }
        // SAFETY: By the type invariants there are so many initialised bytes, which nobody changes
        // while the call runs that `self` was passed to.
        unsafe { core::slice::from_raw_parts(data.cast(), msg.msg_controllen) }
    }

    /// Returns whether there are control messages in a message that is being sent, or room for them
    /// in one that is being received.
    #[inline]
    pub fn wants_control(&self) -> bool {
        // SAFETY: The message is valid by the type invariants.
        unsafe { (*self.as_raw()).msg_controllen != 0 }
    }

    /// Adds a control message to a message that is being received, as far as there is room: if there
    /// is too little then the answer says so ([`msg::CTRUNC`]).
    ///
    /// # Errors
    ///
    /// `EFAULT` if the program has not got the room that it says it has.
    pub fn put_control(&mut self, level: i32, kind: i32, data: &[u8]) -> Result {
        let len = c_int::try_from(data.len()).map_err(|_| EINVAL)?;

        // SAFETY: The message is valid by the type invariants, and there are so many bytes, which are
        // only read.
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
    /// If the message is being received.
    #[inline]
    #[track_caller]
    pub fn source(&mut self) -> &mut IovIterSource<'_> {
        // SAFETY: The iterator is valid and may be used by the type invariants, and nobody uses it
        // while `self` is borrowed. Its direction is checked by the callee.
        unsafe { IovIterSource::from_raw(&raw mut (*self.as_raw()).msg_iter) }
    }

    /// Returns where to put the data of a message that is being received.
    ///
    /// # Panics
    ///
    /// If the message is being sent.
    #[inline]
    #[track_caller]
    pub fn dest(&mut self) -> &mut IovIterDest<'_> {
        // SAFETY: The iterator is valid and may be used by the type invariants, and nobody uses it
        // while `self` is borrowed. Its direction is checked by the callee.
        unsafe { IovIterDest::from_raw(&raw mut (*self.as_raw()).msg_iter) }
    }
}
