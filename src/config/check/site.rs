//! Checks of sites and of compression: what a site may show, what it may take from others, where it may lead.

use std::path::{Path, PathBuf};

use super::Check;
use crate::edge::{Does, SiteConfig};

impl Check<'_> {
    pub(super) fn sites(&mut self) {
        let config = self.config;
        for (index, site) in config.edge.site.iter().enumerate() {
            let index = index.to_string();
            for problem in site.problems() {
                let key = ["edge", "site", &index, problem.key];
                let key = if problem.key.is_empty() { &key[..3] } else { &key[..] };
                self.problem(key, problem.message, problem.remedy);
            }
            self.without_effect(&index, site);
            self.taken(&index, site);
            self.shown(&index, site);
            if site.upstream.as_deref().is_some_and(|upstream| self.is_own(upstream)) {
                self.own_address(&["edge", "site", &index, "upstream"]);
            }
            if let (Ok(Does::Redirect(location)), Some(host)) = (site.does(), &site.host)
                && location.leads_to(host.as_str(), site.prefix())
            {
                let remedy = "name another host, or a path outside of this site";
                self.problem(
                    &["edge", "site", &index, "redirect"],
                    "it leads back to this very site",
                    remedy,
                );
            }
            let twin = |other: &&SiteConfig| other.host == site.host && other.prefix() == site.prefix();
            if config
                .edge
                .site
                .iter()
                .take_while(|other| !std::ptr::eq(*other, site))
                .any(|other| twin(&other))
            {
                let message = format!("another `[[edge.site]]` is `{}` already", site.name());
                self.problem(&["edge", "site", &index], message, "give one of them a `path` of its own");
            }
        }
    }

    fn without_effect(&mut self, index: &str, site: &SiteConfig) {
        let unused: &[&str] = match (&site.root, &site.upstream, &site.redirect) {
            (Some(_), None, None) => &["status"],
            (None, Some(_), None) => &["status", "fallback", "not_found", "cache_control"],
            (None, None, Some(_)) => &["fallback", "not_found"],
            _ => &[],
        };
        for name in unused {
            let key = ["edge", "site", index, name];
            if self.is_written(&key) {
                self.warn(&key, "without effect on what this site does", "take it out");
            }
        }
    }

    /// Without a path it would take everything that somebody else has on this host.
    fn taken(&mut self, index: &str, site: &SiteConfig) {
        let config = self.config;
        let Some(host) = site.host.as_ref().filter(|_| site.prefix().is_empty()) else { return };
        let key = ["edge", "site", index, "host"];
        if config.edge.hosts.contains(host) {
            let message = format!("`edge.hosts` has `{host}` already, and this site would take all of it");
            let remedy =
                "take it out of `edge.hosts` (a site's host is served anyway), or give the site a `path`";
            self.problem(&key, message, remedy);
        }
        let backend =
            config.backend.iter().find(|(_, backend)| backend.hosts.iter().any(|h| h == host.as_str()));
        let tenant = config.tenant.iter().find(|tenant| tenant.hosts.contains(host));
        let owner = backend.map(|(name, _)| format!("backend `{name}`"));
        if let Some(owner) = owner.or(tenant.map(|tenant| format!("tenant `{}`", tenant.id))) {
            let message =
                format!("{owner} has the host `{host}` already, and this site would take all of it");
            self.problem(&key, message, "give the site a `path`, or a host of its own");
        }
    }

    /// A root is there, and shows nothing of the gateway's own.
    fn shown(&mut self, index: &str, site: &SiteConfig) {
        let Some(root) = &site.root else { return };
        let key = ["edge", "site", index, "root"];
        if !root.is_dir() {
            let message = format!("there is no directory {}", root.display());
            let remedy = "make it, or name another; relative paths start at the configuration file";
            return self.problem(&key, message, remedy);
        }
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let root = real(root);
        let config = self.config;
        let keys = config.tls.certificate.iter().map(|pair| &pair.key);
        let secrets = config.tenant.iter().filter_map(|tenant| tenant.database_file.as_ref());
        let own: Vec<&PathBuf> =
            [&config.state_dir, &config.runtime_dir].into_iter().chain(keys).chain(secrets).collect();
        let shown = own
            .into_iter()
            .map(PathBuf::as_path)
            .chain([self.directory])
            .find(|own| real(own).starts_with(&root));
        let inside =
            [&config.state_dir, &config.runtime_dir].into_iter().find(|own| root.starts_with(real(own)));
        let shown = shown.or(inside.map(PathBuf::as_path));
        if let Some(shown) = shown {
            let message = format!("everyone could read the gateway's own {}", shown.display());
            self.problem(&key, message, "name a directory that holds nothing but the site");
        }
    }

    pub(super) fn compression(&mut self) {
        let compression = &self.config.edge.compression;
        let key = |last| ["edge", "compression", last];
        let mut seen = compression.algorithms.clone();
        seen.dedup_by_key(|coding| *coding);
        let twice = (1..seen.len()).any(|at| seen[..at].contains(&seen[at]))
            || seen.len() < compression.algorithms.len();
        if compression.enabled && compression.algorithms.is_empty() {
            let message = "there is none to compress with";
            self.problem(&key("algorithms"), message, "name some, or write `enabled = false`");
        } else if twice {
            self.problem(&key("algorithms"), "one of them stands there twice", "name each once, best first");
        }
        for (name, level, most) in [
            ("zstd_level", compression.zstd_level, 6),
            ("br_level", compression.br_level, 6),
            ("gzip_level", compression.gzip_level, 9),
        ] {
            if level > most {
                let message = format!("levels go from 1 to {most}");
                self.problem(
                    &key(name),
                    message,
                    "leave the key out for its default, which is made for live answers",
                );
            }
        }
        for (index, text) in compression.types.iter().enumerate() {
            let bare = text.replace("/*", "/x").replace("*+", "x/x+");
            if bare.matches('/').count() != 1 || bare.contains(['*', ';', ' ', ',']) || bare.ends_with('/') {
                let message = format!("`{text}` is no media type");
                let remedy = "write it like \"application/json\", \"text/*\" or \"*+json\"";
                self.problem(&["edge", "compression", "types", &index.to_string()], message, remedy);
            }
        }
    }
}
