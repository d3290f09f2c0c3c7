//! Where things lie on a server that the gateway rules. Paths that are written by root stand in directories of root:
//! what an order of root believes must never be writable by the gateway's own user.

/// The program.
pub(super) const PROGRAM: &str = "/usr/local/bin/gateway";
/// The configuration.
pub(super) const CONFIG: &str = "/etc/gateway/gateway.toml";
/// What the firewall shall be.
pub(super) const FIREWALL_STATE: &str = "/etc/gateway/firewall.json";
/// The same as nft reads it, for the unit that loads it at boot.
pub(super) const FIREWALL_RULES: &str = "/etc/gateway/firewall.nft";
/// What bootstrap did, and how to take it back.
pub(super) const JOURNAL: &str = "/var/lib/gateway-bootstrap/journal.json";
/// The program that was there before bootstrap's first run.
pub(super) const PROGRAM_BEFORE: &str = "/var/lib/gateway-bootstrap/gateway";
/// Held by the run that is at work.
pub(super) const AT_WORK: &str = "/run/gateway-bootstrap.lock";
/// Gone after a power cut, as an unconfirmed firewall is.
pub(super) const RUN: &str = "/run/gateway-bootstrap";
/// The rules to go back to.
pub(super) const PREVIOUS: &str = "/run/gateway-bootstrap/previous.nft";
/// What is armed.
pub(super) const ARMED: &str = "/run/gateway-bootstrap/armed.json";
/// What was armed and went back by itself.
pub(super) const GONE_BACK: &str = "/run/gateway-bootstrap/gone-back.json";
/// The transient units that go back by themselves.
pub(super) const ROLLBACK: &str = "gateway-firewall-rollback";
/// Registry, keys and tenants' databases.
pub(super) const STATE: &str = "/var/lib/gateway";
/// Node's versions, as `gateway node install` lays them down.
pub(super) const NODES: &str = "/var/lib/gateway/node";
/// The sealing key, encrypted for this machine by systemd.
pub(super) const SEALED_KEY: &str = "/etc/credstore.encrypted/gateway.seal.key";
/// What the sealing key is without systemd's encryption, and what the gateway makes by itself.
pub(super) const PLAIN_KEY: &str = "/var/lib/gateway/seal.key";
/// certbot's certificates.
pub(super) const CERTBOT: &str = "/etc/letsencrypt/live";
/// Certificates that the gateway was given.
pub(super) const IMPORTED: &str = "/var/lib/gateway/certificates/imported";
/// Log files.
pub(super) const LOGS: &str = "/var/log/gateway";
/// What hands the encrypted key to the service.
pub(super) const SEAL_DROP_IN: &str = "/etc/systemd/system/gateway.service.d/40-seal-key.conf";
