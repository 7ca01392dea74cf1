//! Exim, run without privileges from a folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Gid, Uid, User};

use crate::installation::Installation;
use crate::server::NOBODY;
use crate::{Auth, Delivery, HOSTNAME, Missing, PASSWORD, Server, Tls, USER};

/// An Exim to start. Runs as nobody where the test runs as root, else as the test's own user.
#[derive(Clone, Debug, Default)]
pub struct Exim {
    /// TLS on the listener, by GnuTLS.
    pub tls: Tls,
    /// PLAIN, LOGIN and CRAM-MD5.
    pub auth: Auth,
    /// Where mail ends.
    pub delivery: Delivery,
    /// Further lines of the configuration's main section; they win over the harness's own limits.
    /// For example `smtp_accept_max_per_connection = 3` or `recipients_max = 2`.
    pub main: String,
    /// Statements of the ACL for RCPT that come before the one that accepts all, for example
    /// `deny local_parts = gone\n message = no such user`.
    pub acl_rcpt: String,
}

impl Exim {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`Missing`] where Exim is not on this machine, or is installed on the system and the test
    /// does not run as root.
    ///
    /// # Panics
    ///
    /// When it does not start though it is there.
    pub async fn start(self) -> Result<Server, Missing> {
        let exim = Installation::find("exim", "usr/sbin/exim4")?;
        let user = Runner::of(&exim)?;
        Ok(Server::start(|folder, addr| self.configure(folder, addr, &exim, &user)).await)
    }

    fn configure(
        &self,
        folder: &Path,
        addr: SocketAddr,
        exim: &Installation,
        user: &Runner,
    ) -> Command {
        let programs = folder.join("programs");
        copy_programs(exim, &programs);
        let program = programs.join("exim4");
        let config = folder.join("exim.conf");
        fs::write(&config, self.config(folder, addr, user)).unwrap();
        fs::create_dir(folder.join("spool")).unwrap();

        let mut command = Command::new(program);
        command.env_clear();
        command.arg("-C").arg(&config).arg("-bdf");
        command.env("LD_LIBRARY_PATH", &programs);
        if !exim.is_system() {
            pretend_user(folder, user);
            command.env("LD_PRELOAD", programs.join(NSS_WRAPPER));
            command.env("NSS_WRAPPER_PASSWD", folder.join("passwd"));
            command.env("NSS_WRAPPER_GROUP", folder.join("group"));
        }
        if Uid::effective().is_root() {
            command.uid(user.uid).gid(user.gid);
            for name in ["spool", "log", "mail", "key.pem"] {
                chown(folder.join(name), Some(user.uid), Some(user.gid)).unwrap();
            }
        }
        command
    }

    fn config(&self, folder: &Path, addr: SocketAddr, user: &Runner) -> String {
        let folder = folder.display();
        let (ip, port) = (addr.ip(), addr.port());
        let tls = match self.tls {
            Tls::Off => "tls_advertise_hosts =",
            Tls::Starttls => "tls_advertise_hosts = *",
            Tls::Implicit => &format!("tls_advertise_hosts = *\ntls_on_connect_ports = {port}"),
        };
        let authenticated = match self.auth {
            Auth::Off | Auth::Offered => "",
            Auth::Required => "require authenticated = *",
        };
        let authenticators = match self.auth {
            Auth::Off => String::new(),
            Auth::Offered | Auth::Required => authenticators(),
        };
        let router = match self.delivery {
            Delivery::Maildir => "driver = accept\n  transport = maildir",
            Delivery::Discard => "driver = redirect\n  data = :blackhole:",
        };
        format!(
            "\
exim_path = {folder}/programs/exim4
exim_user = {uid}
exim_group = {gid}
deliver_drop_privilege
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/spool/pid
keep_environment = LD_LIBRARY_PATH : LD_PRELOAD : ^NSS_WRAPPER_

primary_hostname = {HOSTNAME}
local_interfaces = {ip}
daemon_smtp_ports = {port}
host_lookup =
rfc1413_query_timeout = 0s
pipelining_advertise_hosts = *
chunking_advertise_hosts = *
smtputf8_advertise_hosts = *
accept_8bitmime
{tls}
tls_certificate = {folder}/cert.pem
tls_privatekey = {folder}/key.pem
acl_smtp_rcpt = rcpt

{limits}
{main}

begin acl
rcpt:
  {authenticated}
  {acl_rcpt}
  accept

begin routers
all:
  {router}

begin transports
maildir:
  driver = appendfile
  directory = {folder}/mail
  maildir_format
  return_path_add
  envelope_to_add
  user = {uid}
  group = {gid}

begin authenticators
{authenticators}
",
            uid = user.uid,
            gid = user.gid,
            limits = self.limits(),
            main = self.main,
            acl_rcpt = self.acl_rcpt,
        )
    }

    /// Those limits of [`LIMITS`] that `main` does not set: Exim takes no option twice.
    fn limits(&self) -> String {
        let name = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        let set: Vec<_> = self.main.lines().map(name).collect();
        let lines = LIMITS.lines().filter(|line| !set.contains(&name(line)));
        lines.map(|line| format!("{line}\n")).collect()
    }
}

/// Limits that would only hinder tests: a mail's size, connections, mails delivered at once on one
/// connection instead of at the next queue run, free disk space.
const LIMITS: &str = "\
message_size_limit = 64M
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 4096
check_spool_space = 0
check_log_space = 0
";

fn authenticators() -> String {
    let check = |user: &str, password: &str| {
        format!("${{if and{{ {{eq{{${user}}}{{{USER}}}}} {{eq{{${password}}}{{{PASSWORD}}}}} }} }}")
    };
    format!(
        "\
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = {plain}
  server_set_id = $auth2

login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = {login}
  server_set_id = $auth1

cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${{if eq{{$auth1}}{{{USER}}}{{{PASSWORD}}}fail}}
  server_set_id = $auth1
",
        plain = check("auth2", "auth3"),
        login = check("auth1", "auth2"),
    )
}

/// The user under which Exim runs, which must be the one that it was compiled for.
struct Runner {
    uid: u32,
    gid: u32,
}

impl Runner {
    fn of(exim: &Installation) -> Result<Self, Missing> {
        let root = Uid::effective().is_root();
        if !exim.is_system() {
            let (uid, gid) = if root {
                (NOBODY, NOBODY)
            } else {
                (Uid::effective().as_raw(), Gid::effective().as_raw())
            };
            return Ok(Self { uid, gid });
        }
        if !root {
            return Err(Missing::new(
                "exim",
                "the system's runs only as root; `tests/run` fetches one that does not",
            ));
        }
        match User::from_name(COMPILED_USER).unwrap() {
            Some(user) => Ok(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() }),
            None => Err(Missing::new("exim", "the system's has no user Debian-exim")),
        }
    }
}

/// Copies Exim and its libraries to where the user it runs under may read them, as a home of root's
/// may not, and without the set-user-ID bit: Exim starts itself again for each delivery, and must
/// not become somebody else then.
fn copy_programs(exim: &Installation, to: &Path) {
    fs::create_dir(to).unwrap();
    // Contents only: `fs::copy` takes the mode along.
    let program = to.join("exim4");
    fs::write(&program, fs::read(exim.path("usr/sbin/exim4")).unwrap()).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let is_library = |path: &PathBuf| path.is_file() && path.to_string_lossy().contains(".so");
    for folder in exim.library_folders() {
        let files = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
        for file in files.filter(is_library) {
            fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
        }
    }
}

/// Debian's Exim looks up the user Debian-exim by name before it reads anything. Where the package
/// is only unpacked, the library `nss_wrapper` shows it one.
fn pretend_user(folder: &Path, user: &Runner) {
    let Runner { uid, gid } = user;
    let passwd = format!("{COMPILED_USER}:x:{uid}:{gid}::/nonexistent:/bin/false\n");
    fs::write(folder.join("passwd"), passwd).unwrap();
    fs::write(folder.join("group"), format!("{COMPILED_USER}:x:{gid}:\n")).unwrap();
}

const COMPILED_USER: &str = "Debian-exim";
const NSS_WRAPPER: &str = "libnss_wrapper.so";
