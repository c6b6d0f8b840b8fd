// SPDX-License-Identifier: GPL-2.0

//! Values of socket options, exchanged between programs and protocols.
//!
//! Both directions exist for user space and for other parts of the kernel; code that handles an
//! [`OptionIn`] or an [`OptionOut`] need not know which one it is. Both may only be used during the
//! call that they were passed to, in process context. Copying may sleep.
//!
//! C headers: [`include/linux/sockptr.h`](srctree/include/linux/sockptr.h),
//! [`include/linux/net.h`](srctree/include/linux/net.h)

use crate::{
    bindings,
    iov::IovIterDest,
    prelude::*, //
};

use core::marker::PhantomData;

/// The level of options that all sockets have.
pub const SOL_SOCKET: i32 = bindings::SOL_SOCKET as i32;

/// Option of [`SOL_SOCKET`]: the socket may be bound to an address that only connections have.
pub const SO_REUSEADDR: i32 = bindings::SO_REUSEADDR as i32;

/// A value passed to setsockopt(2).
///
/// The value can be read any number of times. User space may change it between two reads, so the
/// copy that was checked must be the copy that is used.
///
/// # Invariants
///
/// For the duration of `'a`, `value` is an address in user space, or an address in the kernel with
/// `len` bytes that are initialised and not written to.
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
/// # Ok::<(), Error>(())
/// ```
pub struct OptionIn<'a> {
    value: bindings::sockptr_t,
    len: usize,
    _bytes: PhantomData<&'a [u8]>,
}

impl<'a> OptionIn<'a> {
    /// Creates a value from bytes in the kernel.
    pub fn new(bytes: &'a [u8]) -> Self {
        // INVARIANT: The bytes are borrowed for `'a`.
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
    /// be initialised and not written to. If it is an address in user space, it must belong to the
    /// current task.
    pub(super) unsafe fn from_raw(value: bindings::sockptr_t, len: c_uint) -> Self {
        // INVARIANT: The safety requirements guarantee the type invariants.
        Self {
            value,
            // CAST: `usize` has at least 32 bits.
            len: len as usize,
            _bytes: PhantomData,
        }
    }

    /// Returns the value as C code represents it, and its length in bytes.
    pub(super) fn as_raw(&self) -> (bindings::sockptr_t, c_uint) {
        (
            self.value,
            c_uint::try_from(self.len).unwrap_or(c_uint::MAX),
        )
    }

    /// Returns the length in bytes that the program has passed.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `true` if the length is 0.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies the beginning of the value, up to the length of `out`. Returns the number of bytes
    /// copied.
    ///
    /// # Errors
    ///
    /// Returns `EFAULT` if the program's memory is not accessible.
    pub fn read_prefix(&self, out: &mut [u8]) -> Result<usize> {
        let len = self.len.min(out.len());

        // SAFETY: `out` has room for `len` bytes. By the type invariants there are `len` bytes to
        // copy, or they are in user space, where the callee checks access.
        if unsafe { bindings::copy_from_sockptr(out.as_mut_ptr().cast(), self.value, len) } != 0 {
            return Err(EFAULT);
        }
        Ok(len)
    }

    /// Copies the first `N` bytes.
    ///
    /// # Errors
    ///
    /// Returns `EINVAL` if the value is shorter, and `EFAULT` if the program's memory is not
    /// accessible.
    pub fn read<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];

        if self.len < N {
            return Err(EINVAL);
        }
        self.read_prefix(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads an `int`, the type of most options. Ignores any further bytes, as all protocols do.
    ///
    /// # Errors
    ///
    /// As for [`OptionIn::read`].
    pub fn read_int(&self) -> Result<i32> {
        self.read().map(i32::from_ne_bytes)
    }
}

/// The destination of the value that getsockopt(2) returns.
///
/// The value can be written once. The program is told its length.
///
/// # Invariants
///
/// `opt` is valid and accessed only by this object for the duration of `'a`; its `iter_out` may be
/// written to, and its `optlen` is not negative.
pub struct OptionOut<'a> {
    opt: *mut bindings::sockopt_t,
    _opt: PhantomData<&'a mut bindings::sockopt_t>,
}

impl OptionOut<'_> {
    /// Borrows the destination of a value from C code.
    ///
    /// # Safety
    ///
    /// For the duration of the lifetime, `opt` must be valid as the socket layer passes it to
    /// `getsockopt_iter`, and must only be accessed through the result.
    pub(super) unsafe fn from_raw(opt: *mut bindings::sockopt_t) -> Self {
        // INVARIANT: The safety requirements guarantee the type invariants; the socket layer checks
        // the length.
        Self {
            opt,
            _opt: PhantomData,
        }
    }

    /// Returns the size in bytes of the program's buffer.
    pub fn len(&self) -> usize {
        // SAFETY: By the type invariants `opt` is valid and ours.
        usize::try_from(unsafe { (*self.opt).optlen }).unwrap_or(0)
    }

    /// Returns `true` if the program's buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns `value` to the program.
    ///
    /// If the buffer is too small, copies the beginning only, as most options do. For an option
    /// that must not be truncated, check [`OptionOut::len`] first.
    ///
    /// # Errors
    ///
    /// Returns `EFAULT` if the program's buffer is not accessible.
    pub fn put(self, value: &[u8]) -> Result {
        let value = value.get(..self.len()).unwrap_or(value);

        // SAFETY: By the type invariants the iterator is valid, may be written to, and is ours. The
        // socket layer has created it with the direction `ITER_DEST`.
        let iter = unsafe { IovIterDest::from_raw(&raw mut (*self.opt).iter_out) };
        if iter.copy_to_iter(value) != value.len() {
            return Err(EFAULT);
        }
        // CAST: Not more than the previous `optlen`.
        // SAFETY: By the type invariants `opt` is valid and ours.
        unsafe { (*self.opt).optlen = value.len() as c_int };
        Ok(())
    }
}
