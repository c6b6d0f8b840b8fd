// SPDX-License-Identifier: GPL-2.0

//! The ioctl(2)s of sockets.

use crate::{
    bindings,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// How many bytes there are to receive (also `FIONREAD`).
pub const SIOCINQ: u32 = bindings::FIONREAD;

/// How many bytes the peer has not acknowledged yet (also `TIOCOUTQ`).
pub const SIOCOUTQ: u32 = bindings::TIOCOUTQ;

/// How many bytes were not sent yet.
pub const SIOCOUTQNSD: u32 = bindings::SIOCOUTQNSD;

/// Whether the next byte to receive is the urgent one.
pub const SIOCATMARK: u32 = bindings::SIOCATMARK;

/// The argument of an ioctl(2): a number, or the address of something in user space.
#[derive(Copy, Clone)]
pub struct IoctlArg(usize);

impl IoctlArg {
    pub(super) fn new(arg: usize) -> Self {
        Self(arg)
    }

    /// Returns the argument as a number.
    #[inline]
    pub fn number(self) -> usize {
        self.0
    }

    /// Returns the argument as an address.
    #[inline]
    pub fn user_ptr(self) -> UserPtr {
        UserPtr::from_addr(self.0)
    }

    /// Stores an `int` where the argument points to, and returns what the ioctl(2) returns then.
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the program has no such place.
    pub fn put_int(self, value: i32) -> Result<i32> {
        UserSlice::new(self.user_ptr(), size_of::<i32>())
            .writer()
            .write(&value)?;
        Ok(0)
    }
}
