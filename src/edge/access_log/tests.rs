//! The access log's lines and its writer.

use crate::{edge::config, metrics::Metrics};

use super::*;

fn log(config: &config::AccessLog) -> (Arc<AccessLog>, Arc<Metrics>) {
    let metrics = Metrics::new();
    (AccessLog::start(config, metrics.clone()).unwrap(), metrics)
}

#[test]
fn a_line_is_json_whatever_strangers_put_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let (log, _) = log(&config::AccessLog { path: Some(path.clone()), ..Default::default() });
    let lines = Lines::new(log.clone());
    let nasty = "a\"b\\c\n\u{1b}[31m\u{7f}é";
    lines.push(std::time::Instant::now(), |line| {
        line.text(name!("path"), Some(nasty));
        line.text(name!("tenant"), None);
        line.number(name!("status"), 200);
        line.time(name!("total_ms"), Some(Duration::from_micros(12_345)));
        line.address(name!("client"), [192, 0, 2, 1].into());
    });
    lines.flush();
    log.close();
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), 1);
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["path"], nasty);
    assert_eq!(line["tenant"], serde_json::Value::Null);
    assert_eq!(line["total_ms"], 12.345);
    assert!(line["ts"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{}", line["ts"]);
}

#[test]
fn what_does_not_fit_is_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let (log, metrics) =
        log(&config::AccessLog { path: Some(path.clone()), buffer_bytes_max: 10, ..Default::default() });
    let lines = Lines::new(log.clone());
    for _ in 0..3 {
        lines.push(std::time::Instant::now(), |line| line.number(name!("status"), 200));
    }
    lines.flush();
    log.close();
    assert_eq!(metrics.access_log_dropped_total.get(), 3);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "");
}

#[test]
fn a_rotated_file_is_opened_anew_by_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let config = config::AccessLog { path: Some(path.clone()), ..Default::default() };
    let (log, _) = log(&config);
    let lines = Lines::new(log.clone());
    std::fs::rename(&path, dir.path().join("access.log.1")).unwrap();
    log.reopen(&config).unwrap();
    lines.push(std::time::Instant::now(), |line| line.number(name!("status"), 200));
    lines.flush();
    log.close();
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1);
}
