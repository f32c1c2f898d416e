//! What a name, a status and an address may look like. Pure.
//!
//! Names are shown next to other people's words, so nothing in them may reorder or hide what stands around it.

use crate::port::Origin;

/// Characters of a username.
pub const USERNAME_CHARS_MIN: usize = 3;
/// Characters of a username.
pub const USERNAME_CHARS_MAX: usize = 32;
/// Characters of a display name.
pub const DISPLAY_NAME_CHARS_MAX: usize = 64;
/// Characters of a status line.
pub const STATUS_CHARS_MAX: usize = 140;
/// Characters of an e-mail address (RFC 5321 §4.5.3.1.3, less the angle brackets).
pub const EMAIL_CHARS_MAX: usize = 254;
/// Characters kept of what a client says it is.
const DEVICE_CHARS_MAX: usize = 200;
/// Characters kept of a peer address: the longest textual IPv6 address with a scope has fewer.
const ADDRESS_CHARS_MAX: usize = 64;
/// Characters kept of a search query: longer than any name.
const QUERY_CHARS_MAX: usize = 64;

/// The one spelling of a username: without surrounding blanks, lower case. Only ASCII, so that no two names look alike and case has one meaning.
pub(crate) fn username(text: &str) -> Result<String, &'static str> {
    let name = text.trim().to_ascii_lowercase();
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
    };
    if !name.bytes().all(allowed) {
        return Err("may contain a to z, 0 to 9, dot, underscore and hyphen");
    }
    if !(USERNAME_CHARS_MIN..=USERNAME_CHARS_MAX).contains(&name.len()) {
        return Err("must have 3 to 32 characters");
    }
    Ok(name)
}

/// A name that people see, without surrounding blanks.
pub(crate) fn display_name(text: &str) -> Result<String, &'static str> {
    let name = text.trim();
    if name.chars().any(disturbs) {
        return Err("must not contain control or direction characters");
    }
    if !name
        .chars()
        .any(|char| !char.is_whitespace() && !invisible(char))
    {
        return Err("must not be empty");
    }
    if name.chars().count() > DISPLAY_NAME_CHARS_MAX {
        return Err("must have at most 64 characters");
    }
    Ok(name.to_owned())
}

/// A line about now, without surrounding blanks; empty when there is none.
pub(crate) fn status(text: &str) -> Result<String, &'static str> {
    let line = text.trim();
    if line.chars().any(disturbs) {
        return Err("must not contain control or direction characters");
    }
    if line.chars().count() > STATUS_CHARS_MAX {
        return Err("must have at most 140 characters");
    }
    Ok(line.to_owned())
}

/// An address that mail could be sent to; whether it arrives only a mail can tell.
pub(crate) fn email(text: &str) -> Result<String, &'static str> {
    let address = text.trim();
    let plausible = address
        .rsplit_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    let clean = !address
        .chars()
        .any(|char| char.is_whitespace() || disturbs(char));
    if plausible && clean && address.chars().count() <= EMAIL_CHARS_MAX {
        Ok(address.to_owned())
    } else {
        Err("is not an e-mail address")
    }
}

/// An origin as it is stored: cut, and without characters that would disturb a list of sessions.
pub(crate) fn origin(origin: &Origin) -> Origin {
    let clean = |text: &str, chars_max: usize| {
        text.chars()
            .filter(|char| !disturbs(*char))
            .take(chars_max)
            .collect()
    };
    Origin {
        device: clean(&origin.device, DEVICE_CHARS_MAX),
        address: clean(&origin.address, ADDRESS_CHARS_MAX),
    }
}

/// What the directory is searched in.
pub(crate) fn search_text(username: &str, display_name: &str) -> String {
    format!("{username}\n{}", display_name.to_lowercase())
}

/// A `like` pattern (escaped by `\`) that finds `query` anywhere in a search text, every character as it is.
pub(crate) fn search_pattern(query: &str) -> String {
    let mut pattern = String::from("%");
    let wanted = query.trim().to_lowercase();
    let plain = wanted.chars().filter(|char| !char.is_control());
    for char in plain.take(QUERY_CHARS_MAX) {
        if matches!(char, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern.push('%');
    pattern
}

/// Control characters, line breaks, and what changes the direction of the text around it (Unicode TR 9 §2).
fn disturbs(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}' | '\u{2029}'
            | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// Takes no room: a name of these alone is empty. Joiners and variation selectors are parts of emoji.
fn invisible(char: char) -> bool {
    matches!(char,
        '\u{00AD}' | '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{2064}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}'
        | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_username_has_one_spelling() {
        assert_eq!(
            username(" Ada.Lovelace-1_ "),
            Ok("ada.lovelace-1_".to_owned())
        );
        for text in ["", "ab", "a b c", "äda", "ａｄａ", "ada\u{202E}", "ada@x"] {
            assert!(username(text).is_err(), "{text:?}");
        }
        assert!(username(&"a".repeat(32)).is_ok());
        assert!(username(&"a".repeat(33)).is_err());
    }

    #[test]
    fn a_display_name_is_any_script_that_can_be_seen() {
        for text in [
            "Ada",
            " Ada ",
            "Ада Лавлейс",
            "愛",
            "👩\u{200D}💻",
            "שלום",
            "a".repeat(64).as_str(),
        ] {
            assert_eq!(display_name(text).as_deref(), Ok(text.trim()));
        }
        for text in [
            "",
            " \u{3000} ",
            "\u{200B}\u{3164}",
            "Ada\u{202E}nimda",
            "Ada\u{2066}",
            "Ada\nRoot",
            "Ada\u{0}",
            "a".repeat(65).as_str(),
        ] {
            assert!(display_name(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_blank_status_is_empty() {
        assert_eq!(status("  "), Ok(String::new()));
        assert_eq!(status(" out for lunch "), Ok("out for lunch".to_owned()));
        assert!(status(&"a".repeat(141)).is_err());
        assert!(status("a\u{202E}b").is_err());
    }

    #[test]
    fn an_email_address_has_two_sides() {
        for text in ["a@b", " ada@example.org ", "\"a@b\"@c"] {
            assert_eq!(email(text).as_deref(), Ok(text.trim()));
        }
        for text in ["", "@", "a@", "@b", "a b@c", "a\n@b", "a\u{202E}@b"] {
            assert!(email(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_origin_is_cut_and_cleaned() {
        let cleaned = origin(&Origin {
            device: format!("Fire\u{202E}fox\n{}", "x".repeat(300)),
            address: "::1".to_owned(),
        });
        assert_eq!(cleaned.device.chars().count(), 200);
        assert!(cleaned.device.starts_with("Firefoxx"));
        assert_eq!(cleaned.address, "::1");
    }

    #[test]
    fn wildcards_in_a_query_are_ordinary_characters() {
        assert_eq!(search_pattern(r" 50%_\Off "), r"%50\%\_\\off%");
        assert_eq!(search_pattern(""), "%%");
        assert_eq!(search_pattern("a\u{0}b"), "%ab%");
        assert_eq!(search_text("ada", "ÄDA"), "ada\näda");
    }
}
