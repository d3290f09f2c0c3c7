//! Which variables of a running process's environment are its application's own, and which those of the session, of npm and
//! of pm2. Names alone are looked at.

/// What the session, pm2 and systemd put into every environment.
const NOT_THE_APPLICATIONS: [&str; 29] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "OLDPWD",
    "LANG",
    "LANGUAGE",
    "TERM",
    "COLORTERM",
    "SHLVL",
    "_",
    "MAIL",
    "LS_COLORS",
    "NODE_APP_INSTANCE",
    "unique_id",
    "PM2_HOME",
    "PM2_USAGE",
    "PM2_JSON_PROCESSING",
    "INIT_CWD",
    "LESSOPEN",
    "LESSCLOSE",
    "INVOCATION_ID",
    "NODE_UNIQUE_ID",
    "NOTIFY_SOCKET",
    "PORT",
    "NODE_ENV",
    "TZ",
];
/// Beginnings of names that the session, npm, pm2, systemd and a forking Node make.
const NOT_BEGINNING: [&str; 12] = [
    "SSH_",
    "XDG_",
    "LC_",
    "npm_",
    "SUDO_",
    "DBUS_",
    "NVM_",
    "PM2_",
    "JOURNAL_",
    "NODE_CHANNEL_",
    "SYSTEMD_",
    "WATCHDOG_",
];

/// Is a variable of that name the application's own?
pub(in crate::bootstrap) fn is_own(name: &str) -> bool {
    !NOT_THE_APPLICATIONS.contains(&name) && !NOT_BEGINNING.iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_session_brings_is_not_the_applications() {
        for (name, own) in [
            ("DATABASE_URL", true),
            ("PORT", false),
            ("SSH_TTY", false),
            ("NODE_CHANNEL_FD", false),
            ("npm_config_x", false),
            ("PATH", false),
        ] {
            assert_eq!(is_own(name), own, "{name}");
        }
    }
}
