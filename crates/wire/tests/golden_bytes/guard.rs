//! Golden files are added, never changed and never removed.

use std::collections::BTreeMap;

use crate::support::golden_dir;

/// Every golden file of bytes with the CRC-32 of its text. Lines are only ever added.
const PINNED: &[(&str, u32)] = &[
    ("bus/command_add_member.hex", 0x7511_6ec1),
    ("bus/command_change_role.hex", 0x2974_5afc),
    ("bus/command_create.hex", 0x2fd4_1df4),
    ("bus/command_join.hex", 0xe219_be73),
    ("bus/command_leave.hex", 0xfb02_8f32),
    ("bus/command_mark.hex", 0x88eb_3e31),
    ("bus/command_remove_member.hex", 0x989d_994f),
    ("bus/command_send_message.hex", 0x94ac_97d0),
    ("bus/ephemeral_marker.hex", 0xd32e_9f57),
    ("bus/ephemeral_typing.hex", 0x61a0_6997),
    ("bus/ev_batch.hex", 0xab06_9589),
    ("bus/head_broadcast.hex", 0xa1a3_2c6c),
    ("bus/ownership_released.hex", 0x0f72_7358),
    ("bus/ownership_taken.hex", 0x23fd_9f28),
    ("bus/range_reply.hex", 0xfba3_9bfe),
    ("bus/range_request.hex", 0xf9fa_da5e),
    ("bus/reply_already.hex", 0x9a2f_ccf3),
    ("bus/reply_busy.hex", 0x21dc_7ec1),
    ("bus/reply_conflict.hex", 0xe961_79a2),
    ("bus/reply_duplicate.hex", 0xb102_9f30),
    ("bus/reply_forbidden.hex", 0x959f_b415),
    ("bus/reply_invalid.hex", 0xe43d_6614),
    ("bus/reply_marked.hex", 0x2d77_db63),
    ("bus/reply_mismatch.hex", 0x1db7_bc9c),
    ("bus/reply_no_such_member.hex", 0x00b2_8c24),
    ("bus/reply_no_such_message.hex", 0x8626_fe8a),
    ("bus/reply_not_found.hex", 0xcbee_5f81),
    ("bus/reply_storage_full.hex", 0x6236_4da4),
    ("bus/reply_stored.hex", 0xa819_ae71),
    ("bus/reply_unavailable.hex", 0x4d7f_301a),
    ("bus/reply_unknown.hex", 0x7b2d_7ce5),
    ("bus/reply_wrong_owner.hex", 0x2536_ca23),
    ("bus/user_changed.hex", 0xad67_a7c9),
    ("snapshot/snapshot_v1.hex", 0xfd21_b3b9),
    ("stored/created_v1_direct.hex", 0xa01f_0ae5),
    ("stored/created_v1_room.hex", 0x242a_14f3),
    ("stored/member_added_v1.hex", 0xe02c_0d1d),
    ("stored/member_removed_v1_banned.hex", 0x7bc9_93fa),
    ("stored/member_removed_v1_left.hex", 0x51ff_a1f0),
    ("stored/member_removed_v1_removed.hex", 0x2251_4412),
    ("stored/message_sent_v1.hex", 0x1c51_4a88),
    ("stored/message_sent_v1_erased.hex", 0x189c_5810),
    ("stored/role_changed_v1.hex", 0x3e68_ce0e),
];

#[test]
fn golden_files_are_only_added() {
    let mut found = BTreeMap::new();
    for format in ["stored", "snapshot", "bus"] {
        for file in std::fs::read_dir(golden_dir().join(format)).unwrap() {
            let file = file.unwrap();
            let name = format!("{format}/{}", file.file_name().into_string().unwrap());
            found.insert(name, crc32fast::hash(&std::fs::read(file.path()).unwrap()));
        }
    }
    for (name, crc) in &found {
        let pinned = PINNED
            .iter()
            .find(|(pinned, _)| pinned == name)
            .map(|(_, crc)| *crc);
        assert_eq!(
            pinned,
            Some(*crc),
            "(\"{name}\", 0x{crc:08x}) is not pinned, or was changed"
        );
    }
    for (name, _) in PINNED {
        assert!(found.contains_key(*name), "{name} was removed");
    }
}
