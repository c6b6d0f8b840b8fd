// SPDX-License-Identifier: GPL-2.0

//! Values of socket options on their way between programs and protocols.
//!
//! Both directions exist for user space and for other parts of the kernel; who gets an
//! [`OptionIn`] or an [`OptionOut`] need not know which it is. They are for the call that they were
//! passed to, in process context, and copying may sleep.
//!
//! C headers: [`include/linux/sockptr.h`](srctree/include/linux/sockptr.h),
//! [`include/linux/net.h`](srctree/include/linux/net.h)

use crate::{
    bindings,
    iov::IovIterDest,
    prelude::*, //
};

use core::marker::PhantomData;

/// The level of the options that all sockets have.
pub const SOL_SOCKET: i32 = bindings::SOL_SOCKET as i32;

/// The value that somebody passes to setsockopt(2).
///
/// It can be read any number of times. User space may change it in the meantime: what is decided by
/// one copy must not be done with another.
///
/// # Invariants
///
/// For the duration of `'a`, `value` is an address in user space, or one in the kernel with `len`
/// bytes that are initialised and not written to.
///
/// # Examples
///
/// ```
/// use kernel::net::sockopt::OptionIn;
///
/// let bytes = 5i32.to_ne_bytes();
/// let value = OptionIn::new(&bytes);
///
/// assert_eq!(value.len(), 4);
/// assert_eq!(value.read_int(), Ok(5));
/// assert_eq!(value.read::<2>(), Ok([bytes[0], bytes[1]]));
/// assert_eq!(value.read::<5>(), Err(EINVAL));
///
/// let mut name = [0; 16];
/// assert_eq!(OptionIn::new(b"cubic\0junk").read_str(&mut name), Ok(&b"cubic"[..]));
/// # Ok::<(), Error>(())
/// ```
pub struct OptionIn<'a> {
    value: bindings::sockptr_t,
    len: usize,
    _bytes: PhantomData<&'a [u8]>,
}

impl<'a> OptionIn<'a> {
    /// Makes a value of bytes in the kernel.
    pub fn new(bytes: &'a [u8]) -> Self {
        // INVARIANT: The bytes are borrowed for as long as `'a`.
        Self {
            // SAFETY: The function only stores the pointer.
            value: unsafe { bindings::KERNEL_SOCKPTR(bytes.as_ptr().cast_mut().cast()) },
            len: bytes.len(),
            _bytes: PhantomData,
        }
    }

    /// Borrows a value from C code.
    ///
    /// # Safety
    ///
    /// For the duration of `'a`, if `value` is an address in the kernel, the `len` bytes there must
    /// be initialised and not written to. If it is one in user space then it must be that of the
    /// current task.
    pub(super) unsafe fn from_raw(value: bindings::sockptr_t, len: c_uint) -> Self {
        // INVARIANT: This is required of the caller.
        Self {
            value,
            // CAST: `usize` has at least 32 bits.
            len: len as usize,
            _bytes: PhantomData,
        }
    }

    /// Returns the value in the form of C code, and how many bytes it has.
    pub(super) fn as_raw(&self) -> (bindings::sockptr_t, c_uint) {
        (
            self.value,
            c_uint::try_from(self.len).unwrap_or(c_uint::MAX),
        )
    }

    /// Returns the number of bytes, as the program says.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies the beginning of the value, as much as fits, and returns how many bytes that were.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the program has not got them.
    pub fn read_prefix(&self, out: &mut [u8]) -> Result<usize> {
        let len = self.len.min(out.len());

        // SAFETY: `out` has room for `len` bytes. By the type invariants there are so many to copy,
        // or they are in user space, which is checked.
        if unsafe { bindings::copy_from_sockptr(out.as_mut_ptr().cast(), self.value, len) } != 0 {
            return Err(EFAULT);
        }
        Ok(len)
    }

    /// Copies the first `N` bytes.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there are less, `EFAULT` if the program has not got them.
    pub fn read<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];

        if self.len < N {
            return Err(EINVAL);
        }
        self.read_prefix(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads an `int`, as most options are. What follows it is ignored, as everywhere.
    ///
    /// # Errors
    ///
    /// As [`OptionIn::read`].
    pub fn read_int(&self) -> Result<i32> {
        self.read().map(i32::from_ne_bytes)
    }

    /// Reads a string, without the NUL that it may end with, and cuts off what does not fit.
    ///
    /// Nothing after the NUL is touched.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is nothing at all, `EFAULT` if the program has not got it.
    pub fn read_str<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8]> {
        let max = self.len.min(out.len());
        if max == 0 {
            return Err(EINVAL);
        }

        // SAFETY: `out` has room for `max` bytes. By the type invariants there are so many to copy,
        // or they are in user space, which is checked.
        let len =
            unsafe { bindings::strncpy_from_sockptr(out.as_mut_ptr().cast(), self.value, max) };
        if len < 0 {
            return Err(EFAULT);
        }

        // In the kernel the last byte is taken for a NUL without being looked at, and the NUL
        // counts.
        let copied = out.get(..max).unwrap_or(&[]);
        let end = copied.iter().position(|&byte| byte == 0).unwrap_or(max);
        Ok(copied.get(..end).unwrap_or(&[]))
    }
}

/// Where the answer to getsockopt(2) goes.
///
/// It can be written once. Whoever asks is told how many bytes it was.
///
/// # Invariants
///
/// `opt` is valid and nobody else accesses it for the duration of `'a`; its `iter_out` may be
/// written to, and its `optlen` is not negative.
pub struct OptionOut<'a> {
    opt: *mut bindings::sockopt_t,
    _opt: PhantomData<&'a mut bindings::sockopt_t>,
}

impl OptionOut<'_> {
    /// Borrows the place for an answer from C code.
    ///
    /// # Safety
    ///
    /// For the duration of the lifetime `opt` must be valid, as the socket layer passes it to
    /// `getsockopt_iter`, and be accessed in no other way.
    pub(super) unsafe fn from_raw(opt: *mut bindings::sockopt_t) -> Self {
        // INVARIANT: This is required of the caller; the socket layer checks the length.
        Self {
            opt,
            _opt: PhantomData,
        }
    }

    /// Returns how many bytes there is room for.
    pub fn len(&self) -> usize {
        // SAFETY: By the type invariants this is valid and ours.
        usize::try_from(unsafe { (*self.opt).optlen }).unwrap_or(0)
    }

    /// Returns whether there is no room.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Answers with `value`.
    ///
    /// If there is not enough room then only the beginning is copied, which is how most options
    /// behave; for those that must not be cut off look at [`OptionOut::len`] before.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the program has not got the room that it says it has.
    pub fn put(self, value: &[u8]) -> Result {
        let value = value.get(..self.len()).unwrap_or(value);

        // SAFETY: By the type invariants the iterator is valid, may be written to, and is ours. The
        // socket layer has made it with the direction `ITER_DEST`.
        let iter = unsafe { IovIterDest::from_raw(&raw mut (*self.opt).iter_out) };
        if iter.copy_to_iter(value) != value.len() {
            return Err(EFAULT);
        }
        // CAST: It is no more than what was in `optlen`.
        // SAFETY: By the type invariants this is valid and ours.
        unsafe { (*self.opt).optlen = value.len() as c_int };
        Ok(())
    }

    /// Answers with an `int`, as [`OptionOut::put`] does.
    pub fn put_int(self, value: i32) -> Result {
        self.put(&value.to_ne_bytes())
    }
}
