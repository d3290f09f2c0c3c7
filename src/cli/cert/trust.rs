//! `gateway cert trust`: how browsers and this machine learn to trust the local CA, or doing it. The only command
//! that changes anything outside the gateway's own directories, and only when it is told to.

use std::{path::Path, process::Command};

use crate::{
    admin,
    cli::{Client, Failure, failure::Exit, out},
};

/// Where Debian and its like keep CAs of this machine's own; the name says whose it is.
const DEBIAN_ANCHOR: &str = "/usr/local/share/ca-certificates/gateway-local-ca.crt";

/// The same for Fedora and its like.
const FEDORA_ANCHOR: &str = "/etc/pki/ca-trust/source/anchors/gateway-local-ca.crt";

/// Tell how browsers and this machine learn to trust the local CA (`tls.mode = "local"`), or do it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gateway cert trust
  gateway cert trust --install
  gateway cert trust --path")]
pub(crate) struct Trust {
    /// Put the CA into this machine's own list now (needs root)
    #[arg(long, conflicts_with = "path")]
    install: bool,
    /// Print the path of the CA's certificate and nothing else
    #[arg(long)]
    path: bool,
}

impl Trust {
    pub(super) async fn run(self, client: &Client) -> Result<(), Failure> {
        let status: admin::Status = client.show("/status").await?;
        let ca = status.local_ca.ok_or_else(|| {
            Failure::failed("there is no local CA: the certificates come from elsewhere")
                .hint("the local CA exists with `tls.mode = \"local\"` alone")
        })?;
        if self.path {
            out::line(ca.display().to_string());
            return Ok(());
        }
        if self.install {
            return install(&ca);
        }
        out::line(instructions(&ca));
        Ok(())
    }
}

fn instructions(ca: &Path) -> String {
    let ca = ca.display();
    format!(
        "The local CA's certificate: {ca}\n\
         \n\
         This machine (curl, Node, and so on):\n  \
           sudo gateway cert trust --install\n\
         Debian, Ubuntu:\n  \
           sudo cp {ca} {DEBIAN_ANCHOR} && sudo update-ca-certificates\n\
         Fedora, RHEL:\n  \
           sudo cp {ca} {FEDORA_ANCHOR} && sudo update-ca-trust\n\
         macOS:\n  \
           sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {ca}\n\
         Chrome, Chromium on Linux:\n  \
           certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n gateway-local-ca -i {ca}\n\
         Firefox:\n  \
           Settings → Privacy & Security → Certificates → View Certificates → Authorities → Import: {ca}\n\
         Node alone:\n  \
           NODE_EXTRA_CA_CERTS={ca} node server.js\n\
         One request:\n  \
           curl --cacert {ca} https://localhost:8443/"
    )
}

fn install(ca: &Path) -> Result<(), Failure> {
    let mac = cfg!(target_os = "macos");
    let (anchor, update) = if Path::new("/usr/local/share/ca-certificates").is_dir() {
        (DEBIAN_ANCHOR, "update-ca-certificates")
    } else if Path::new("/etc/pki/ca-trust/source/anchors").is_dir() {
        (FEDORA_ANCHOR, "update-ca-trust")
    } else if mac {
        return done(
            Command::new("security")
                .args([
                    "add-trusted-cert",
                    "-d",
                    "-r",
                    "trustRoot",
                    "-k",
                    "/Library/Keychains/System.keychain",
                ])
                .arg(ca),
        );
    } else {
        return Err(Failure::failed("this system's list of CAs is kept somewhere unknown")
            .hint("`gateway cert trust` tells how to do it by hand"));
    };
    std::fs::copy(ca, anchor).map_err(|error| {
        let failure = Failure::io("write", Path::new(anchor), &error);
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Failure {
                exit: Exit::Denied,
                ..failure.hint("run it as root: `sudo gateway cert trust --install`")
            },
            _ => failure,
        }
    })?;
    done(&mut Command::new(update))?;
    out::line("browsers keep lists of their own: `gateway cert trust` tells how to add it there");
    Ok(())
}

fn done(command: &mut Command) -> Result<(), Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => {
            out::line(format!("{name}: this machine trusts the local CA now"));
            Ok(())
        }
        Ok(status) => Err(Failure::failed(format!("`{name}` failed: {status}"))),
        Err(error) => Err(Failure::failed(format!("cannot run `{name}`: {error}"))
            .hint("on Debian and Ubuntu it is in the package `ca-certificates`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instructions_name_the_ca_for_every_system() {
        let text = instructions(Path::new("/srv/ca.pem"));
        for word in ["update-ca-certificates", "add-trusted-cert", "Firefox", "curl --cacert /srv/ca.pem"] {
            assert!(text.contains(word), "{word}");
        }
    }
}
