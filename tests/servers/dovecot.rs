//! Dovecot's LMTP server, with a configuration folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Uid;

use crate::installation::Installation;
use crate::server::NOBODY;
use crate::{HOSTNAME, Maildir, Missing, Server, Tls};

/// A Dovecot to start, for LMTP alone. It has to be installed, because it has the folders of its
/// parts compiled in, and root starts it.
///
/// Who is not among its users is refused; each user has a Maildir of their own.
#[derive(Clone, Debug, Default)]
pub struct Dovecot {
    /// TLS on the listener; [`Tls::Implicit`] is not to be had in LMTP.
    pub tls: Tls,
    /// The addresses that it takes mail for.
    pub users: Vec<String>,
    /// Those of them whose mail it cannot file.
    pub broken: Vec<String>,
}

impl Dovecot {
    /// Starts it. It also listens on [`Dovecot::socket`].
    ///
    /// # Errors
    ///
    /// [`Missing`] where Dovecot is not installed, or the test does not run as root.
    ///
    /// # Panics
    ///
    /// When it does not start though it is there.
    pub async fn start(self) -> Result<Server, Missing> {
        let dovecot = Installation::find("dovecot", "usr/sbin/dovecot")?;
        if !dovecot.path("usr/lib/dovecot/lmtp").is_file() {
            return Err(Missing::new("dovecot", "without LMTP; `tests/run` installs it"));
        }
        if !Uid::effective().is_root() {
            return Err(Missing::new("dovecot", "runs only as root"));
        }
        Ok(Server::start(|folder, addr| self.configure(folder, addr, &dovecot)).await)
    }

    /// The Unix socket on which `server` speaks LMTP, too.
    pub fn socket(server: &Server) -> PathBuf {
        server.folder().join("lmtp")
    }

    /// The Maildir of a user.
    pub fn maildir(server: &Server, user: &str) -> Maildir {
        Maildir::new(server.maildir.path().join(user))
    }

    fn configure(&self, folder: &Path, addr: SocketAddr, dovecot: &Installation) -> Command {
        chown(folder.join("mail"), Some(NOBODY), Some(NOBODY)).unwrap();
        let config = folder.join("dovecot.conf");
        fs::write(&config, self.config(folder, addr)).unwrap();
        let whole = self.users.iter().map(|user| format!("{user}:::::::\n"));
        let broken = self.broken.iter().map(|user| {
            // Nobody may make a folder there.
            format!("{user}:::::::userdb_mail=maildir:/proc/{user}\n")
        });
        fs::write(folder.join("users"), whole.chain(broken).collect::<String>()).unwrap();
        let mut command = Command::new(dovecot.path("usr/sbin/dovecot"));
        command.env_clear();
        command.arg("-F").arg("-c").arg(config);
        command
    }

    fn config(&self, folder: &Path, addr: SocketAddr) -> String {
        let folder = folder.display();
        let (ip, port) = (addr.ip(), addr.port());
        let tls = match self.tls {
            Tls::Off => "ssl = no".to_owned(),
            Tls::Starttls | Tls::Implicit => {
                format!("ssl = yes\nssl_cert = <{folder}/cert.pem\nssl_key = <{folder}/key.pem")
            }
        };
        format!(
            "\
protocols = lmtp
listen = {ip}
base_dir = {folder}/run
state_dir = {folder}/state
instance_name = {port}
log_path = {folder}/log/dovecot
hostname = {HOSTNAME}
{tls}

mail_location = maildir:{folder}/mail/%u:INDEX=MEMORY
first_valid_uid = 1
recipient_delimiter =
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
  override_fields = uid={NOBODY} gid={NOBODY} home={folder}/mail
}}

service lmtp {{
  inet_listener lmtp {{
    address = {ip}
    port = {port}
  }}
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"
        )
    }
}
