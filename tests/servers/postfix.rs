//! Postfix, run by its `master` straight from a folder of its own.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use nix::unistd::{Group, Uid, User};

use crate::installation::{Installation, library_path};
use crate::server::NOBODY;
use crate::{Auth, Delivery, HOSTNAME, Missing, PASSWORD, Server, Tls, USER};

/// A Postfix to start. Its `master` insists on root; the daemons drop it.
///
/// Limits that only hinder tests are off: connections per client, flow control, free disk space.
#[derive(Clone, Debug, Default)]
pub struct Postfix {
    /// TLS on the listener.
    pub tls: Tls,
    /// SASL by Cyrus: PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-1 and SCRAM-SHA-256.
    pub auth: Auth,
    /// Where mail ends.
    pub delivery: Delivery,
    /// Further lines of main.cf; they win over the harness's own. For example
    /// `smtpd_recipient_restrictions = check_recipient_access inline:{{gone@a.test = 550 gone}}`.
    pub main_cf: String,
}

impl Postfix {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`Missing`] where Postfix is not on this machine, or Cyrus SASL's programs for
    /// [`auth`](Self::auth), or the test does not run as root.
    ///
    /// # Panics
    ///
    /// When it does not start though it is there.
    pub async fn start(self) -> Result<Server, Missing> {
        let postfix = Installation::find("postfix", "usr/lib/postfix/sbin/master")?;
        if !Uid::effective().is_root() {
            return Err(Missing::new("postfix", "runs only as root"));
        }
        let sasl = match self.auth {
            Auth::Off => None,
            Auth::Offered | Auth::Required => Some(Sasl::find()?),
        };
        Ok(Server::start(|folder, addr| self.configure(folder, addr, &postfix, sasl.as_ref()))
            .await)
    }

    fn configure(
        &self,
        folder: &Path,
        addr: SocketAddr,
        postfix: &Installation,
        sasl: Option<&Sasl>,
    ) -> Command {
        let owner = Accounts::pick();
        make_queue(folder, &owner);
        let maildir = folder.join("mail");
        chown(&maildir, Some(NOBODY), Some(NOBODY)).unwrap();

        let config = folder.join("etc");
        fs::create_dir(&config).unwrap();
        write_cold(&config.join("main.cf"), &self.config(folder, postfix, &owner));
        write_cold(&config.join("master.cf"), &master_cf(addr));

        let mut command = Command::new(postfix.path("usr/lib/postfix/sbin/master"));
        command.env_clear();
        command.arg("-c").arg(&config).arg("-d");
        command.env("MAIL_CONFIG", &config);
        // What the postfix command sets for a log file of one's own, without which syslog is used.
        command.env("POSTLOG_SERVICE", folder.join("queue/public/postlog"));
        command.env("POSTLOG_HOSTNAME", HOSTNAME);
        match sasl {
            None => command.env("LD_LIBRARY_PATH", library_path(&[postfix])),
            Some(sasl) => {
                sasl.configure(&config, &owner);
                sasl.set_plugins(&mut command);
                command.env("LD_LIBRARY_PATH", library_path(&[postfix, &sasl.programs]))
            }
        };
        command
    }

    fn config(&self, folder: &Path, postfix: &Installation, owner: &Accounts) -> String {
        let folder = folder.display();
        let daemons = postfix.path("usr/lib/postfix/sbin");
        let commands = postfix.path("usr/sbin");
        let transport = match self.delivery {
            Delivery::Maildir => "virtual",
            Delivery::Discard => "discard",
        };
        let tls = match self.tls {
            Tls::Off => "smtpd_tls_security_level = none",
            Tls::Starttls => "smtpd_tls_security_level = may",
            Tls::Implicit => "smtpd_tls_wrappermode = yes",
        };
        let (auth, relay) = match self.auth {
            Auth::Off => ("no", "permit_mynetworks"),
            Auth::Offered => ("yes", "permit_mynetworks"),
            Auth::Required => ("yes", "permit_sasl_authenticated"),
        };
        format!(
            "\
compatibility_level = 3.6
daemon_directory = {daemons}
command_directory = {commands}
shlib_directory = no
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log/postfix
maillog_file_prefixes = {folder}
import_environment = MAIL_CONFIG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME LD_LIBRARY_PATH SASL_PATH
mail_owner = {user}
setgid_group = {group}

myhostname = {HOSTNAME}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = {relay}, reject
smtpd_peername_lookup = no

# Every recipient is a virtual mailbox in the one Maildir, and its content stays as it was sent.
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
local_header_rewrite_clients =
virtual_transport = {transport}
virtual_mailbox_domains = static:all
virtual_mailbox_maps = static:mail/
virtual_mailbox_base = {folder}
virtual_mailbox_limit = 0
virtual_minimum_uid = 1
virtual_uid_maps = static:{NOBODY}
virtual_gid_maps = static:{NOBODY}

# Limits that would only hinder tests. 64 MiB a mail; 500 processes, hence connections.
message_size_limit = 67108864
default_process_limit = 500
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
queue_minfree = 0

{tls}
smtpd_tls_cert_file = {folder}/cert.pem
smtpd_tls_key_file = {folder}/key.pem
smtpd_sasl_auth_enable = {auth}
smtpd_sasl_local_domain = {HOSTNAME}
cyrus_sasl_config_path = {folder}/etc/sasl

{more}
",
            daemons = daemons.display(),
            commands = commands.display(),
            user = owner.user.name,
            group = owner.group.name,
            more = self.main_cf,
        )
    }
}

/// The daemons between a client and the Maildir, outside of any chroot.
fn master_cf(addr: SocketAddr) -> String {
    format!(
        "\
{addr}  inet       n - n -    -   smtpd
cleanup    unix       n - n -    0   cleanup
qmgr       unix       n - n 300  1   qmgr
tlsmgr     unix       - - n 300? 1   tlsmgr
rewrite    unix       - - n -    -   trivial-rewrite
bounce     unix       - - n -    0   bounce
defer      unix       - - n -    0   bounce
trace      unix       - - n -    0   bounce
proxymap   unix       - - n -    -   proxymap
error      unix       - - n -    -   error
retry      unix       - - n -    -   error
discard    unix       - - n -    -   discard
virtual    unix       - n n -    -   virtual
anvil      unix       - - n -    1   anvil
postlog    unix-dgram n - n -    1   postlogd
"
    )
}

/// Writes a file as if long ago: Postfix waits two seconds for a younger one, lest somebody is still
/// writing it.
fn write_cold(path: &Path, text: &str) {
    let mut file = File::create(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
}

/// Lays out what `postfix start` would: the queue and the data folder.
fn make_queue(folder: &Path, owner: &Accounts) {
    let (user, group) = (Some(owner.user.uid.as_raw()), Some(owner.group.gid.as_raw()));
    let make = |name: &str, mode, user, group| {
        let path = folder.join(name);
        fs::create_dir(&path).unwrap();
        chown(&path, user, group).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    };
    make("queue", 0o755, None, None);
    make("queue/pid", 0o755, None, None);
    make("queue/public", 0o710, user, group);
    make("queue/maildrop", 0o730, user, group);
    for name in ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"] {
        make(&format!("queue/{name}"), 0o700, user, None);
    }
    for name in ["queue/private", "queue/saved", "queue/trace", "data"] {
        make(name, 0o700, user, None);
    }
}

/// The user and the group of the queue. Postfix wants that nothing else of the mail system uses
/// them, not that they have a certain name, so that any system user will do where the package is
/// not installed.
struct Accounts {
    user: User,
    group: Group,
}

impl Accounts {
    fn pick() -> Self {
        let user = ["postfix", "uucp", "daemon"]
            .into_iter()
            .find_map(|name| User::from_name(name).unwrap());
        let group = ["postdrop", "games", "mail"]
            .into_iter()
            .find_map(|name| Group::from_name(name).unwrap());
        let missing = "this system has none of the usual system users and groups";
        Self { user: user.expect(missing), group: group.expect(missing) }
    }
}

/// Cyrus SASL with its own small database: one process fewer than Dovecot, and more mechanisms.
struct Sasl {
    programs: Installation,
}

impl Sasl {
    fn find() -> Result<Self, Missing> {
        let programs = Installation::find("sasl", "usr/sbin/saslpasswd2")?;
        Ok(Self { programs })
    }

    /// Tells `command` where the unpacked mechanisms are; the library knows the system's.
    fn set_plugins(&self, command: &mut Command) {
        if self.programs.is_system() {
            return;
        }
        let folders = self.programs.library_folders();
        let plugins = folders.iter().map(|folder| folder.join("sasl2"));
        let plugins = plugins.filter(|folder| folder.is_dir());
        command.env("SASL_PATH", std::env::join_paths(plugins).unwrap());
    }

    /// Writes smtpd.conf and the database with the one user. Debian's Postfix looks in `sasl`
    /// under its configuration's folder.
    fn configure(&self, config: &Path, owner: &Accounts) {
        let config = config.join("sasl");
        fs::create_dir(&config).unwrap();
        let database = config.join("sasldb2");
        let smtpd = format!(
            "\
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {}
mech_list: PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256
",
            database.display()
        );
        fs::write(config.join("smtpd.conf"), smtpd).unwrap();

        let mut command = Command::new(self.programs.path("usr/sbin/saslpasswd2"));
        command.env_clear();
        command.args(["-p", "-c", "-u", HOSTNAME, "-f"]).arg(&database).arg(USER);
        command.env("LD_LIBRARY_PATH", library_path(&[&self.programs]));
        self.set_plugins(&mut command);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "saslpasswd2 made no database");
        chown(&database, Some(owner.user.uid.as_raw()), None).unwrap();
    }
}
