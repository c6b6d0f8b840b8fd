// SPDX-License-Identifier: GPL-2.0

//! Settings of a network namespace, below `/proc/sys/net`.
//!
//! C headers: [`include/linux/sysctl.h`](srctree/include/linux/sysctl.h),
//! [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h)

use crate::{
    bindings,
    error::from_result,
    net::namespace::Namespace,
    prelude::*,
    sync::Arc, //
};

use core::ptr::NonNull;

/// A directory of settings.
pub trait Settings: Send + Sync + 'static {
    /// Where the directory is, `c"net/xensock"` for example.
    const PATH: &'static CStr;

    /// The names of the settings.
    const NAMES: &'static [&'static CStr];

    /// Returns the value of a setting, by its place in [`Settings::NAMES`]. Process context.
    fn show(&self, setting: usize) -> Result<KVec<u8>>;

    /// Changes a setting to what was written, without the blanks around it. Process context.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it has no meaning.
    fn store(&self, setting: usize, value: &[u8]) -> Result;
}

/// The registration of [`Settings`] for a namespace: as long as it exists they can be seen there.
/// Made by [`Entries::add_sysctl`](super::pernet::Entries::add_sysctl).
///
/// All can read them. Only who has `CAP_NET_ADMIN` in the initial user namespace can write them:
/// that somebody has made himself a network namespace does not give him more than he had before.
///
/// # Invariants
///
/// `header` is that of `table`, which is registered; each entry refers to `settings`, a reference
/// that is owned, and to a number below that of the names.
pub(super) struct Registration<T: Settings> {
    header: NonNull<bindings::ctl_table_header>,
    _table: KVec<bindings::ctl_table>,
    _settings: Arc<T>,
}

// SAFETY: It can be unregistered by any thread, and a `T` dropped.
unsafe impl<T: Settings> Send for Registration<T> {}

// SAFETY: Nothing can be done with a shared reference.
unsafe impl<T: Settings> Sync for Registration<T> {}

impl<T: Settings> Registration<T> {
    /// Registers settings for a namespace. Process context, may sleep.
    ///
    /// It has to be dropped before the namespace goes: [`Entries`](super::pernet::Entries) does that.
    pub(super) fn new(net: &Namespace, settings: Arc<T>) -> Result<Self> {
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
        // They remain so until it is unregistered.
        let header = unsafe {
            bindings::register_net_sysctl_sz(
                net.as_raw(),
                T::PATH.as_char_ptr(),
                table.as_ptr(),
                table.len(),
            )
        };
        // INVARIANT: It was registered just now, with entries as required.
        Ok(Self {
            header: NonNull::new(header).ok_or(ENOMEM)?,
            _table: table,
            _settings: settings,
        })
    }

    /// # Safety
    ///
    /// Only called through an entry of the table, with a buffer of the kernel's that has room for
    /// `*len` bytes and one more.
    unsafe extern "C" fn handler(
        entry: *const bindings::ctl_table,
        write: c_int,
        buffer: *mut c_void,
        len: *mut usize,
        pos: *mut bindings::loff_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The arguments are the caller's, and by the type invariants the entry refers to
            // a `T`, which is kept until nobody is here any more.
            let (settings, number, room, start) = unsafe {
                (
                    &*(*entry).data.cast::<T>(),
                    (*entry).extra1 as usize,
                    *len,
                    *pos,
                )
            };

            if write != 0 {
                // SAFETY: This only looks at the current task.
                if !unsafe { bindings::capable(bindings::CAP_NET_ADMIN as c_int) } {
                    return Err(EPERM);
                }
                // What does not come in one piece cannot be understood.
                if start != 0 {
                    return Err(EINVAL);
                }
                // SAFETY: The caller has copied so many bytes from the program.
                let value = unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), room) };
                settings.store(number, value.trim_ascii())?;
                // SAFETY: The argument is the caller's.
                unsafe { *pos += room as bindings::loff_t };
                return Ok(0);
            }

            let mut value = settings.show(number)?;
            value.push(b'\n', GFP_KERNEL)?;
            let start = usize::try_from(start).map_err(|_| EINVAL)?;
            let rest = value.get(start..).unwrap_or(&[]);
            let rest = rest.get(..room).unwrap_or(rest);
            // SAFETY: There is room for so many bytes, and the arguments are the caller's.
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
        // SAFETY: By the type invariants it is registered, by us. This waits for those who are in
        // `handler`.
        unsafe { bindings::unregister_net_sysctl_table(self.header.as_ptr()) };
    }
}
