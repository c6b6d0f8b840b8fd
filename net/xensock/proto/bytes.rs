// SPDX-License-Identifier: GPL-2.0

//! Fields at fixed offsets of a slot.
//!
//! Offset and width are constants, checked at compile time, so no access can fail. All integers are
//! little endian, independent of the byte order of the machine.

/// Bytes of a slot of the commands ring.
pub const SLOT: usize = 64;

/// Returns the `N` bytes at offset `AT`.
pub(super) fn get<const AT: usize, const N: usize>(slot: &[u8; SLOT]) -> [u8; N] {
    const { assert!(AT + N <= SLOT) };

    // BOUNDS: `i < N`, and the sum was checked above.
    core::array::from_fn(|i| slot[AT + i])
}

/// Sets the `N` bytes at offset `AT`.
pub(super) fn put<const AT: usize, const N: usize>(slot: &mut [u8; SLOT], value: [u8; N]) {
    const { assert!(AT + N <= SLOT) };

    // BOUNDS: Checked above.
    slot[AT..AT + N].copy_from_slice(&value);
}

/// Returns the byte at offset `AT`.
pub(super) fn get_u8<const AT: usize>(slot: &[u8; SLOT]) -> u8 {
    let [byte] = get::<AT, 1>(slot);
    byte
}

/// Returns the 32-bit number at offset `AT`.
pub(super) fn get_u32<const AT: usize>(slot: &[u8; SLOT]) -> u32 {
    u32::from_le_bytes(get::<AT, 4>(slot))
}

/// Returns the signed 32-bit number at offset `AT`.
pub(super) fn get_i32<const AT: usize>(slot: &[u8; SLOT]) -> i32 {
    i32::from_le_bytes(get::<AT, 4>(slot))
}

/// Returns the 64-bit number at offset `AT`.
pub(super) fn get_u64<const AT: usize>(slot: &[u8; SLOT]) -> u64 {
    u64::from_le_bytes(get::<AT, 8>(slot))
}

/// Sets the 32-bit number at offset `AT`.
pub(super) fn put_u32<const AT: usize>(slot: &mut [u8; SLOT], value: u32) {
    put::<AT, 4>(slot, value.to_le_bytes());
}

/// Sets the 64-bit number at offset `AT`.
pub(super) fn put_u64<const AT: usize>(slot: &mut [u8; SLOT], value: u64) {
    put::<AT, 8>(slot, value.to_le_bytes());
}
