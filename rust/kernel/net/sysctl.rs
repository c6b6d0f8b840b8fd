// SPDX-License-Identifier: GPL-2.0

//! Settings of a network namespace below `/proc/sys/net`.
//!
//! C headers: [`include/linux/sysctl.h`](srctree/include/linux/sysctl.h),
//! [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h)

use crate::{
    bindings,
    error::from_result,
    prelude::*,
    sync::Arc, //
};

use core::ptr::NonNull;

/// A directory of settings.
pub trait Settings: Send + Sync + 'static {
    /// Path of the directory below `/proc/sys`, for example `c"net/xensock"`.
    const PATH: &'static CStr;

    /// Names of the settings.
    const NAMES: &'static [&'static CStr];

    /// Returns the value of a setting, given by its index in [`Settings::NAMES`]. Process context.
    fn show(&self, setting: usize) -> Result<KVec<u8>>;

    /// Changes a setting to the value that a program wrote, without surrounding white space.
    /// Process context.
    ///
    /// # Errors
    ///
    /// Returns `EINVAL` if the value is not valid for the setting.
    fn store(&self, setting: usize, value: &[u8]) -> Result;
}

/// The registration of [`Settings`] for a namespace. While it exists, the settings are visible
/// there. Created by [`Entries::add_sysctl`](super::pernet::Entries::add_sysctl).
///
/// Everyone can read the settings. Writing requires `CAP_NET_ADMIN` in the initial user namespace:
/// creating a network namespace of one's own must not give more rights.
///
/// # Invariants
///
/// `header` is the registration of `table`. Each entry of `table` refers to `settings`, to which
/// this object owns a reference, and to an index into the names.
pub(super) struct Registration<T: Settings> {
    header: NonNull<bindings::ctl_table_header>,
    _table: KVec<bindings::ctl_table>,
    _settings: Arc<T>,
}

// SAFETY: Any thread may unregister the table and drop a `T`, which is `Send` and `Sync`.
unsafe impl<T: Settings> Send for Registration<T> {}

// SAFETY: A shared reference gives access to nothing.
unsafe impl<T: Settings> Sync for Registration<T> {}

impl<T: Settings> Registration<T> {
    /// Registers settings for a namespace. Process context, may sleep.
    ///
    /// # Safety
    ///
    /// `net` must be valid until the result has been dropped.
    pub(super) unsafe fn new(net: *mut bindings::net, settings: Arc<T>) -> Result<Self> {
        let mut table = KVec::with_capacity(T::NAMES.len(), GFP_KERNEL)?;

        for (number, name) in T::NAMES.iter().enumerate() {
            let entry = bindings::ctl_table {
                procname: name.as_char_ptr(),
                data: Arc::as_ptr(&settings).cast_mut().cast(),
                mode: 0o644,
                proc_handler: Some(Self::handler),
                extra1: number as *mut c_void,
                ..pin_init::zeroed()
            };
            table.push(entry, GFP_KERNEL)?;
        }
        // SAFETY: The namespace is valid, and so are the path, which is a constant, and the table.
        // They stay valid until the table is unregistered.
        let header = unsafe {
            bindings::register_net_sysctl_sz(
                net,
                T::PATH.as_char_ptr(),
                table.as_ptr(),
                table.len(),
            )
        };
        // INVARIANT: The table was registered just above, with entries as required.
        Ok(Self {
            header: NonNull::new(header).ok_or(ENOMEM)?,
            _table: table,
            _settings: settings,
        })
    }

    /// # Safety
    ///
    /// Must only be called through an entry of the table, with a kernel buffer that has room for
    /// `*len` bytes and one more.
    unsafe extern "C" fn handler(
        entry: *const bindings::ctl_table,
        write: c_int,
        buffer: *mut c_void,
        len: *mut usize,
        pos: *mut bindings::loff_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The arguments come from the caller, and by the type invariants the entry
            // refers to a `T`, which is kept until no handler is running any more.
            let (settings, number, room, start) = unsafe {
                (
                    &*(*entry).data.cast::<T>(),
                    (*entry).extra1 as usize,
                    *len,
                    *pos,
                )
            };

            if write != 0 {
                // SAFETY: This only checks the current task.
                if !unsafe { bindings::capable(bindings::CAP_NET_ADMIN as c_int) } {
                    return Err(EPERM);
                }
                // A value must be written in one piece.
                if start != 0 {
                    return Err(EINVAL);
                }
                // SAFETY: The caller has copied `*len` bytes from the program.
                let value = unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), room) };
                settings.store(number, value.trim_ascii())?;
                // SAFETY: `pos` is a valid argument of the caller.
                unsafe { *pos += room as bindings::loff_t };
                return Ok(0);
            }

            let mut value = settings.show(number)?;
            value.push(b'\n', GFP_KERNEL)?;
            let start = usize::try_from(start).map_err(|_| EINVAL)?;
            let rest = value.get(start..).unwrap_or(&[]);
            let rest = rest.get(..room).unwrap_or(rest);
            // SAFETY: `rest` is at most `*len` bytes, for which there is room, and the arguments
            // come from the caller.
            unsafe {
                core::ptr::copy_nonoverlapping(rest.as_ptr(), buffer.cast(), rest.len());
                *len = rest.len();
                *pos += rest.len() as bindings::loff_t;
            }
            Ok(0)
        })
    }
}

impl<T: Settings> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, this object has registered the table. This call waits for
        // running calls of `handler`.
        unsafe { bindings::unregister_net_sysctl_table(self.header.as_ptr()) };
    }
}
