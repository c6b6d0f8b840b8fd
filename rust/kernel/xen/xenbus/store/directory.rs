// SPDX-License-Identifier: GPL-2.0

//! Reading of a directory in xenstore.

use super::{
    MAX_VALUE,
    NIL, //
};

use crate::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    types::ScopeGuard, //
};

use core::{
    ptr::NonNull,
    slice, //
};

/// A readable directory in xenstore.
///
/// Node names are relative to the directory: `c"limits"`, or `c"limits/sockets"` for a node in a
/// subdirectory. The methods exchange messages with the xenstore daemon: process context, may
/// sleep.
///
/// # Examples
///
/// ```
/// use kernel::xen::xenbus::Device;
///
/// fn show_limits(xdev: &Device) -> Result {
///     let dir = xdev.own_dir();
///
///     for name in dir.list(c"limits")?.iter() {
///         pr_info!("there is a limit on {name}\n");
///     }
///     pr_info!("sockets: {}\n", dir.read_u32_or(c"limits/sockets", 100)?);
///     Ok(())
/// }
/// ```
#[derive(Copy, Clone)]
pub struct Directory<'a> {
    pub(super) transaction: bindings::xenbus_transaction,
    pub(super) path: &'a CStr,
}

impl<'a> Directory<'a> {
    /// Creates a directory from its path: absolute, or relative to this domain's own directory.
    ///
    /// Any context.
    pub const fn new(path: &'a CStr) -> Self {
        Self {
            transaction: NIL,
            path,
        }
    }

    /// Reads the value of a node, without a terminating NUL.
    ///
    /// Fails with [`ENOENT`] if there is no such node, and with [`E2BIG`] if the value has more
    /// than [`MAX_VALUE`] bytes. The value may contain any bytes.
    pub fn read(&self, node: &CStr) -> Result<KVec<u8>> {
        let mut len: c_uint = 0;

        // SAFETY: All strings are valid, and `len` is valid for writing.
        let value = from_err_ptr(unsafe {
            bindings::xenbus_read(
                self.transaction,
                self.path.as_char_ptr(),
                node.as_char_ptr(),
                &mut len,
            )
        })?;
        let value = ScopeGuard::new_with_data(value, |value| {
            // SAFETY: `xenbus_read()` returned this allocation for the caller to free.
            unsafe { bindings::kfree(value) };
        });

        // CAST: `usize` is at least 32 bits.
        let len = len as usize;
        if len > MAX_VALUE {
            return Err(E2BIG);
        }

        // SAFETY: `xenbus_read()` returned an allocation of `len` bytes, which we own.
        let bytes = unsafe { slice::from_raw_parts(value.cast::<u8>(), len) };
        let mut copy = KVec::with_capacity(len, GFP_KERNEL)?;
        copy.extend_from_slice(bytes, GFP_KERNEL)?;
        Ok(copy)
    }

    /// Reads a node as a number.
    ///
    /// Fails with [`ENOENT`] if there is no such node, with [`EINVAL`] if the value is anything but
    /// decimal digits without leading zeroes, and with [`ERANGE`] if the number is above 2^32 - 1.
    pub fn read_u32(&self, node: &CStr) -> Result<u32> {
        parse_u32(&self.read(node)?)
    }

    /// Like [`Directory::read_u32`], but returns `default` if there is no such node.
    pub fn read_u32_or(&self, node: &CStr, default: u32) -> Result<u32> {
        match self.read_u32(node) {
            Err(ENOENT) => Ok(default),
            result => result,
        }
    }

    /// Lists the nodes in the subdirectory `node`, or in this directory if `node` is empty.
    ///
    /// Fails with [`ENOENT`] if there is no such directory, and with [`E2BIG`] if the names
    /// together have more than [`MAX_VALUE`] bytes.
    pub fn list(&self, node: &CStr) -> Result<Names> {
        let mut len: c_uint = 0;

        // SAFETY: All strings are valid, and `len` is valid for writing.
        let names = from_err_ptr(unsafe {
            bindings::xenbus_directory(
                self.transaction,
                self.path.as_char_ptr(),
                node.as_char_ptr(),
                &mut len,
            )
        })?;

        // INVARIANT: `xenbus_directory()` returned an array of `len` strings in one allocation, for
        // the caller to free.
        Ok(Names {
            names: NonNull::new(names).ok_or(ENOMEM)?,
            // CAST: `usize` is at least 32 bits.
            len: len as usize,
        })
    }
}

/// Parses a decimal number. Accepts digits only, and no leading zeroes.
fn parse_u32(value: &[u8]) -> Result<u32> {
    if value.is_empty() || (value.len() > 1 && value[0] == b'0') {
        return Err(EINVAL);
    }
    value.iter().try_fold(0u32, |number, &digit| {
        if !digit.is_ascii_digit() {
            return Err(EINVAL);
        }
        number
            .checked_mul(10)
            .and_then(|number| number.checked_add(u32::from(digit - b'0')))
            .ok_or(ERANGE)
    })
}

/// Names of the nodes in a xenstore directory.
///
/// # Invariants
///
/// `names` points to an array of `len` strings. The array and the strings are one allocation by
/// `kmalloc`, which this object owns and which is never written to.
pub struct Names {
    names: NonNull<*mut c_char>,
    len: usize,
}

impl Names {
    /// Returns the names, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &CStr> {
        // SAFETY: By the type invariants, there are `len` names, which do not change.
        let names = unsafe { slice::from_raw_parts(self.names.as_ptr(), self.len) };

        names.iter().map(|&name| {
            // SAFETY: By the type invariants, `name` is a string, valid as long as `self`.
            unsafe { CStr::from_char_ptr(name) }
        })
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, `names` was allocated by `kmalloc` and is owned by
        // `self`.
        unsafe { bindings::kfree(self.names.as_ptr().cast()) };
    }
}

// SAFETY: The object owns the strings, which are valid in any thread and do not change.
unsafe impl Send for Names {}

// SAFETY: A shared reference only allows reading.
unsafe impl Sync for Names {}

#[cfg(CONFIG_RUST_XEN_KUNIT_TEST)]
#[macros::kunit_tests(rust_xen_store)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(parse_u32(b"0"), Ok(0));
        assert_eq!(parse_u32(b"4294967295"), Ok(u32::MAX));
        assert_eq!(parse_u32(b"4294967296"), Err(ERANGE));
        assert_eq!(parse_u32(b"99999999999999999999"), Err(ERANGE));
    }

    #[test]
    fn no_numbers() {
        for value in [
            &b""[..],
            b"-1",
            b"+1",
            b" 1",
            b"1 ",
            b"1\n",
            b"1\0",
            b"01",
            b"00",
            b"0x1",
            b"1a",
            b"\xff",
        ] {
            assert_eq!(parse_u32(value), Err(EINVAL));
        }
    }
}
