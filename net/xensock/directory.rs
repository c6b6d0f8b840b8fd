// SPDX-License-Identifier: GPL-2.0

//! The module's directory in debugfs, in which each device says what it has to do.

use kernel::{
    debugfs::Dir,
    prelude::*,
    sync::{
        Arc,
        GlobalArc, //
    }, //
};

/// The directory, for as long as there is a [`Directory`].
pub(crate) static DEBUGFS: GlobalArc<Dir> = GlobalArc::new();

/// Keeps [`DEBUGFS`] alive for as long as the module is.
pub(crate) struct Directory;

impl Directory {
    pub(crate) fn new(name: &CStr) -> Result<Self> {
        DEBUGFS.set(Arc::new(Dir::new(name), GFP_KERNEL)?);
        Ok(Self)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        DEBUGFS.take();
    }
}
