//! Tables, days on which the clocks are set, and a model that counts minutes.

use proptest::prelude::*;

use super::*;

fn schedule(text: &str, zone: &str) -> Schedule {
    Schedule::parse(text, time_zone(zone).unwrap()).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

/// The moments after `after`, as the clocks there show them.
fn check<const N: usize>(text: &str, zone: &str, after: &str, expected: [&str; N]) {
    let schedule = schedule(text, zone);
    let mut at: Timestamp = after.parse().unwrap();
    let moments = expected.map(|_| {
        at = schedule.next(at).unwrap();
        at.to_zoned(schedule.zone.clone()).strftime("%a %F %H:%M %:z").to_string()
    });
    assert_eq!(moments, expected, "{text} in {zone}");
}

#[test]
fn every_form_of_a_field_means_what_cron_means() {
    let after = "2026-01-01T00:00:00Z"; // A Thursday.
    for (text, expected) in [
        ("* * * * *", ["Thu 2026-01-01 00:01", "Thu 2026-01-01 00:02"]),
        ("*/20 * * * *", ["Thu 2026-01-01 00:20", "Thu 2026-01-01 00:40"]),
        ("5/25 * * * *", ["Thu 2026-01-01 00:05", "Thu 2026-01-01 00:30"]),
        ("10-20/7 * * * *", ["Thu 2026-01-01 00:10", "Thu 2026-01-01 00:17"]),
        ("1,3 0 * * *", ["Thu 2026-01-01 00:01", "Thu 2026-01-01 00:03"]),
        ("30 3 * * mon-fri", ["Thu 2026-01-01 03:30", "Fri 2026-01-02 03:30"]),
        ("0 0 * * SAT-Sun", ["Sat 2026-01-03 00:00", "Sun 2026-01-04 00:00"]),
        ("0 0 * * 7", ["Sun 2026-01-04 00:00", "Sun 2026-01-11 00:00"]),
        ("0 0 * * 0", ["Sun 2026-01-04 00:00", "Sun 2026-01-11 00:00"]),
        ("0 0 * * 6-7", ["Sat 2026-01-03 00:00", "Sun 2026-01-04 00:00"]),
        ("0 12 15 feb,Apr *", ["Sun 2026-02-15 12:00", "Wed 2026-04-15 12:00"]),
        ("0 0 31 * *", ["Sat 2026-01-31 00:00", "Tue 2026-03-31 00:00"]),
        ("0 0 29 2 *", ["Tue 2028-02-29 00:00", "Sun 2032-02-29 00:00"]),
        // Of two restrictions one is enough; a star is none, and a step over a star neither.
        ("0 0 10 * fri", ["Fri 2026-01-02 00:00", "Fri 2026-01-09 00:00"]),
        ("0 0 3 * mon", ["Sat 2026-01-03 00:00", "Mon 2026-01-05 00:00"]),
        ("0 0 */2 * fri", ["Fri 2026-01-09 00:00", "Fri 2026-01-23 00:00"]),
        ("@hourly", ["Thu 2026-01-01 01:00", "Thu 2026-01-01 02:00"]),
        ("@daily", ["Fri 2026-01-02 00:00", "Sat 2026-01-03 00:00"]),
        ("@midnight", ["Fri 2026-01-02 00:00", "Sat 2026-01-03 00:00"]),
        ("@weekly", ["Sun 2026-01-04 00:00", "Sun 2026-01-11 00:00"]),
        ("@monthly", ["Sun 2026-02-01 00:00", "Sun 2026-03-01 00:00"]),
        ("@yearly", ["Fri 2027-01-01 00:00", "Sat 2028-01-01 00:00"]),
        (" @Annually ", ["Fri 2027-01-01 00:00", "Sat 2028-01-01 00:00"]),
    ] {
        check(text, "UTC", after, expected.map(|text| format!("{text} +00:00")).each_ref().map(|t| &t[..]));
    }
}

#[test]
fn what_is_no_schedule_is_refused_with_the_reason() {
    for (text, word) in [
        ("", "empty"),
        ("* * * *", "these are 4"),
        ("0 * * * * *", "these are 6"),
        ("60 * * * *", "`60` is no minute: 0 to 59"),
        ("* 24 * * *", "`24` is no hour"),
        ("* * 0 * *", "`0` is no day: 1 to 31"),
        ("* * * 13 *", "`13` is no month: 1 to 12, or a name"),
        ("* * * * 8", "`8` is no weekday"),
        ("* * * * monday", "`monday` is no weekday"),
        ("mon * * * *", "`mon` is no minute"),
        ("+5 * * * *", "`+5` is no minute"),
        ("5- * * * *", "`` is no minute"),
        ("1,,2 * * * *", "`` is no minute"),
        ("*/0 * * * *", "`0` is no step"),
        ("*/60 * * * *", "`60` is no step"),
        ("*/x * * * *", "`x` is no step"),
        ("20-10 * * * *", "`20-10` of the minute runs backwards"),
        ("0 0 L * *", "`L` is no day"),
        ("? * * * *", "`?` is no minute"),
        ("0 0 30 2 *", "no such date"),
        ("0 0 31 4,6 *", "no such date"),
        ("@fortnightly", "`@fortnightly` is not known"),
        ("@reboot", "no time"),
        ("99999999999 * * * *", "is no minute"),
    ] {
        let problem = Schedule::parse(text, TimeZone::UTC).unwrap_err();
        assert!(problem.message.contains(word), "{text:?}: {problem:?}");
        assert!(!problem.remedy.is_empty());
    }
    assert!(time_zone("Mars/Olympus").unwrap_err().message.contains("Mars/Olympus"));
}

#[test]
fn a_time_that_the_clocks_skip_is_due_at_the_first_moment_after_it() {
    let berlin = "Europe/Berlin"; // 2026-03-29, 02:00 → 03:00.
    let before = "2026-03-28T12:00:00Z";
    check("30 2 * * *", berlin, before, ["Sun 2026-03-29 03:00 +02:00", "Mon 2026-03-30 02:30 +02:00"]);
    check("0 2 * * *", berlin, before, ["Sun 2026-03-29 03:00 +02:00", "Mon 2026-03-30 02:00 +02:00"]);
    check("59 1 * * *", berlin, before, ["Sun 2026-03-29 01:59 +01:00", "Mon 2026-03-30 01:59 +02:00"]);
    // Several skipped ones, and one that is due then anyway, are one.
    check("*/10 2 * * *", berlin, before, ["Sun 2026-03-29 03:00 +02:00", "Mon 2026-03-30 02:00 +02:00"]);
    check("0 2,3 * * *", berlin, before, ["Sun 2026-03-29 03:00 +02:00", "Mon 2026-03-30 02:00 +02:00"]);
    check(
        "30 2 * * *",
        "America/New_York",
        "2026-03-07T12:00:00Z",
        ["Sun 2026-03-08 03:00 -04:00", "Mon 2026-03-09 02:30 -04:00"],
    );
    // Half an hour only, and a day that has no midnight.
    check("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", ["Sun 2026-10-04 02:30 +11:00"]);
    check("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", ["Fri 2026-04-24 01:00 +03:00"]);
    // A whole day that an island left out.
    check("0 12 30 12 *", "Pacific/Apia", "2011-12-29T12:00:00Z", ["Sat 2011-12-31 00:00 +14:00"]);
}

#[test]
fn a_time_that_the_clocks_show_twice_is_due_once() {
    let berlin = "Europe/Berlin"; // 2026-10-25, 03:00 → 02:00.
    let before = "2026-10-24T12:00:00Z";
    check("30 2 * * *", berlin, before, ["Sun 2026-10-25 02:30 +02:00", "Mon 2026-10-26 02:30 +01:00"]);
    check(
        "0,30 1-3 * * *",
        berlin,
        "2026-10-24T23:30:00Z",
        [
            "Sun 2026-10-25 02:00 +02:00",
            "Sun 2026-10-25 02:30 +02:00",
            "Sun 2026-10-25 03:00 +01:00",
            "Sun 2026-10-25 03:30 +01:00",
            "Mon 2026-10-26 01:00 +01:00",
        ],
    );
    // Asked between the two, it is not due again.
    check("30 2 * * *", berlin, "2026-10-25T01:00:00Z", ["Mon 2026-10-26 02:30 +01:00"]);
}

#[test]
fn a_schedule_for_every_hour_follows_the_time_that_passes() {
    let berlin = "Europe/Berlin";
    check(
        "30 * * * *",
        berlin,
        "2026-10-24T23:31:00Z",
        ["Sun 2026-10-25 02:30 +02:00", "Sun 2026-10-25 02:30 +01:00", "Sun 2026-10-25 03:30 +01:00"],
    );
    check(
        "30 * * * *",
        berlin,
        "2026-03-29T00:00:00Z",
        ["Sun 2026-03-29 01:30 +01:00", "Sun 2026-03-29 03:30 +02:00"],
    );
}

/// What a clerk would do who looks at the clock each minute.
fn model(schedule: &Schedule, after: Timestamp) -> Timestamp {
    let local = |at: Timestamp| at.to_zoned(schedule.zone.clone()).datetime();
    let interval = (0..24).all(|hour| schedule.hours.has(hour));
    let due = |time: DateTime| {
        schedule.is_on(time.date())
            && schedule.hours.has(time.hour().unsigned_abs().into())
            && schedule.minutes.has(time.minute().unsigned_abs().into())
    };
    let mut at = Timestamp::from_second(after.as_second().div_euclid(60) * 60).unwrap();
    // What the clocks have shown lately: whoever looks at them begins three hours earlier.
    let mut latest = local(at - 3.hours());
    for minute in 1..=180 {
        latest = latest.max(local(at - 3.hours() + minute.minutes()));
    }
    loop {
        at += 1.minute();
        let now = local(at);
        let skipped = now > latest + 1.minute();
        let mut time = latest + 1.minute();
        while !interval && skipped && time < now {
            if due(time) {
                return at;
            }
            time += 1.minute();
        }
        if due(now) && (interval || now > latest) {
            return at;
        }
        latest = latest.max(now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_next_moment_is_that_of_a_clerk_who_looks_at_the_clock_each_minute(
        minutes in proptest::collection::vec(0_u32..60, 1..4),
        hours in proptest::option::of(proptest::collection::vec(0_u32..24, 1..6)),
        weekdays in proptest::option::of(proptest::collection::vec(0_u32..7, 3..6)),
        zone in proptest::sample::select(vec![
            ("UTC", "2026-03-29T00:00:00Z"),
            ("Europe/Berlin", "2026-03-29T01:00:00Z"),
            ("Europe/Berlin", "2026-10-25T01:00:00Z"),
            ("America/New_York", "2026-11-01T06:00:00Z"),
            ("America/New_York", "2026-03-08T07:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
            ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
        ]),
        seconds in -20_000_i64..20_000,
    ) {
        let list = |numbers: Option<&Vec<u32>>| numbers.map_or("*".to_owned(), |numbers| {
            numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
        });
        let text =
            format!("{} {} * * {}", list(Some(&minutes)), list(hours.as_ref()), list(weekdays.as_ref()));
        let schedule = schedule(&text, zone.0);
        let after = zone.1.parse::<Timestamp>().unwrap() + seconds.seconds();
        prop_assert_eq!(schedule.next(after), Some(model(&schedule, after)), "{} after {}", text, after);
    }
}
