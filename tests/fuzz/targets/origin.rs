//! What may stand in the whitelist: its canonical form is canonical, and is what a browser of the URL standard says.
#![no_main]

use gateway::fuzz::origin;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(canonical) = origin(text) else { return };
    assert_eq!(origin(&canonical).as_ref(), Some(&canonical), "not a fixed point of {text:?}");
    assert!(canonical.is_ascii() && !canonical.chars().any(|c| c.is_ascii_uppercase()), "{canonical}");
    assert!(!canonical.chars().any(|c| c.is_ascii_control() || c == ' '), "{canonical}");
    let stars = canonical.matches('*').count();
    assert!(stars == 0 || (stars == 1 && canonical.contains("://*.")), "{canonical}");
    // What browsers send; a wildcard stands for one of their labels.
    let written = |text: &str| url::Url::parse(&text.replacen("://*.", "://x.", 1)).unwrap().origin();
    assert!(written(&canonical).is_tuple(), "{canonical}");
    assert_eq!(written(&canonical).ascii_serialization(), canonical.replacen("://*.", "://x.", 1));
    assert_eq!(written(text), written(&canonical), "{text:?} is another origin than {canonical}");
});
