// SPDX-License-Identifier: GPL-2.0

//! The module's directory in debugfs, where each device has files.

use crate::keeper::Keeper;
use kernel::{
    debugfs::Dir,
    prelude::*,
    sync::{
        Arc,
        GlobalArc, //
    }, //
};

/// The directory, while it is [kept](keep).
pub(crate) static DEBUGFS: GlobalArc<Dir> = GlobalArc::new();

/// Creates the directory. May sleep.
pub(crate) fn keep(name: &CStr) -> Result<Keeper<Dir>> {
    Ok(Keeper::new(&DEBUGFS, Arc::new(Dir::new(name), GFP_KERNEL)?))
}
