// SPDX-License-Identifier: GPL-2.0

//! Files of a network namespace below `/proc/net`.
//!
//! C header: [`include/linux/proc_fs.h`](srctree/include/linux/proc_fs.h)

use crate::{
    bindings,
    net::namespace::Namespace,
    prelude::*,
    seq_file::SeqFile, //
};

/// A readable file.
pub trait Show: 'static {
    /// Name of the file.
    const NAME: &'static CStr;

    /// Writes the contents of the file for a namespace. Process context, may sleep. May be called
    /// again for the same reader, with a larger buffer.
    fn show(net: &Namespace, file: &SeqFile);
}

/// The registration of a file for a namespace. While it exists, the file can be read there. Created
/// by [`Entries::add_proc`](super::pernet::Entries::add_proc).
///
/// # Invariants
///
/// The namespace is valid and has a file of this name, which this object owns.
pub(super) struct Registration {
    net: *mut bindings::net,
    name: &'static CStr,
}

// SAFETY: Any thread may unregister the file.
unsafe impl Send for Registration {}

// SAFETY: A shared reference gives access to nothing.
unsafe impl Sync for Registration {}

impl Registration {
    /// Registers a file for a namespace. Process context, may sleep.
    ///
    /// # Safety
    ///
    /// `net` must be valid until the result has been dropped.
    pub(super) unsafe fn new<T: Show>(net: *mut bindings::net) -> Result<Self> {
        // SAFETY: The namespace is valid, and so is the name, which is a constant. The file is
        // removed before the module's code goes away.
        let entry = unsafe {
            bindings::proc_create_net_single(
                T::NAME.as_char_ptr(),
                0o444,
                (*net).proc_net,
                Some(Self::show::<T>),
                core::ptr::null_mut(),
            )
        };
        if entry.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: The file was created just above.
        Ok(Self { net, name: T::NAME })
    }

    /// # Safety
    ///
    /// Must only be called for a reader of the file, which keeps the namespace alive.
    unsafe extern "C" fn show<T: Show>(file: *mut bindings::seq_file, _data: *mut c_void) -> c_int {
        // SAFETY: The file belongs to a namespace that the reader keeps alive.
        let net = unsafe { Namespace::from_raw(bindings::seq_file_single_net(file)) };
        // SAFETY: The reader waits for this call, so `file` stays valid.
        T::show(net, unsafe { SeqFile::from_raw(file) });
        0
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the file exists. This call waits for running calls of
        // `show`.
        unsafe { bindings::remove_proc_entry(self.name.as_char_ptr(), (*self.net).proc_net) };
    }
}
