// SPDX-License-Identifier: GPL-2.0

//! Files of a network namespace, below `/proc/net`.
//!
//! C header: [`include/linux/proc_fs.h`](srctree/include/linux/proc_fs.h)

use crate::{
    bindings,
    net::namespace::Namespace,
    prelude::*,
    seq_file::SeqFile, //
};

/// A file that can be read.
pub trait Show: 'static {
    /// Its name.
    const NAME: &'static CStr;

    /// Writes what the file says, for a namespace. Process context, may sleep; may be called anew
    /// for the same reader, with more room.
    fn show(net: &Namespace, file: &SeqFile);
}

/// The registration of a file for a namespace: as long as it exists it can be read there. Made by
/// [`Entries::add_proc`](super::pernet::Entries::add_proc).
///
/// # Invariants
///
/// The namespace is valid, and has a file of this name, which is ours.
pub(super) struct Registration {
    net: *mut bindings::net,
    name: &'static CStr,
}

// SAFETY: It can be unregistered by any thread.
unsafe impl Send for Registration {}

// SAFETY: Nothing can be done with a shared reference.
unsafe impl Sync for Registration {}

impl Registration {
    /// Registers a file for a namespace. Process context, may sleep.
    ///
    /// It has to be dropped before the namespace goes: [`Entries`](super::pernet::Entries) does that.
    pub(super) fn new<T: Show>(net: &Namespace) -> Result<Self> {
        let net = net.as_raw();

        // SAFETY: The namespace is valid, and so is the name, a constant. The file is removed before
        // the code of its module goes away.
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
        // INVARIANT: It was created just now.
        Ok(Self { net, name: T::NAME })
    }

    /// # Safety
    ///
    /// Only called for a reader of the file, by whom the namespace is kept.
    unsafe extern "C" fn show<T: Show>(file: *mut bindings::seq_file, _data: *mut c_void) -> c_int {
        // SAFETY: The file is that of a namespace, which the reader keeps.
        let net = unsafe { Namespace::from_raw(bindings::seq_file_single_net(file)) };
        // SAFETY: This reader waits for us.
        T::show(net, unsafe { SeqFile::from_raw(file) });
        0
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the file is there. This waits for those who are in `show`.
        unsafe { bindings::remove_proc_entry(self.name.as_char_ptr(), (*self.net).proc_net) };
    }
}
