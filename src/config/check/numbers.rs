//! Limits and times of zero. Found by walking the configuration itself, so that a new key is covered as soon as
//! it exists.

use figment::value::Value;

use super::Check;

/// Numbers and times for which zero has a meaning, by the end of their key.
const ZERO_IS_FINE: [&str; 12] = [
    "answer_bytes_per_second_min",
    "body_bytes_per_second_min",
    "edge.threads",
    "pool.tenant_max",
    "pool.tenant_min",
    "connections_min",
    "warmup_answers",
    "cors.max_age",
    "tls.hsts.max_age",
    "grace",
    "core_bytes",
    "port",
];

impl Check<'_> {
    pub(super) fn numbers(&mut self) {
        // Serialising our own structs to a tree cannot fail; if it ever does, a test that expects zeros fails.
        if let Ok(root) = Value::serialize(self.config) {
            self.walk(&root, &mut Vec::new());
        }
    }

    fn walk(&mut self, value: &Value, path: &mut Vec<String>) {
        match value {
            // A worker's own variables may say what they like.
            Value::Dict(..) if path.last().is_some_and(|last| last == "env") => {}
            Value::Dict(_, table) => {
                for (key, value) in table {
                    path.push(key.clone());
                    self.walk(value, path);
                    path.pop();
                }
            }
            Value::Array(_, items) => {
                for (index, value) in items.iter().enumerate() {
                    path.push(index.to_string());
                    self.walk(value, path);
                    path.pop();
                }
            }
            Value::Num(_, number) if number.to_u128() == Some(0) => self.zero(path, "1"),
            // So does humantime write a duration of zero.
            Value::String(_, text) if text == "0s" => self.zero(path, "\"1s\""),
            _ => {}
        }
    }

    fn zero(&mut self, path: &[String], least: &str) {
        let key = path.join(".");
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        if key.ends_with("grace") {
            let message = "nothing is given time to end: every stop cuts requests short";
            self.warn(&parts, message, "give it some seconds, such as \"10s\"");
        } else if !ZERO_IS_FINE.iter().any(|fine| key.ends_with(fine)) {
            let message = "this cannot be zero";
            self.problem(
                &parts,
                message,
                format!("write {least} or more, or leave the key out for its default"),
            );
        }
    }
}
