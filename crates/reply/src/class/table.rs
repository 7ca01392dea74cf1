//! What servers say, as data. The first rule that matches decides, so what is said of one thing
//! stands above what may be said of many.
//!
//! The words are those that carry the meaning, shortened to their stem, not whole sentences:
//! servers are translated, patched and upgraded. Where a rule is for one provider, its name stands
//! beside it.

use Class::{
    AuthFailed, AuthRequired, AuthTemp, BadDomain, BadSequence, ContentRejected, Greylisted,
    LocalError, Loop, MailboxDisabled, MailboxFull, NoSuchUser, NotImplemented, PolicyAuth,
    PolicyOther, PolicySpam, RelayDenied, SenderRejected, ShuttingDown, Storage, Syntax, Throttled,
    Timeout, TlsFailed, TlsRequired, TooLarge, TooManyRecipients, Virus,
};
use SaidTo::{Auth, Connecting, Content, Data, Hello, Mail, Rcpt, StartTls};
use Scope::{
    Account, Connection, Connections, Host, Recipient, Sender, Session, Source, Transaction,
};

use super::rules::{Rule, said};
use super::{Class, SaidTo, Scope};

#[rustfmt::skip] // one rule, one line, as far as it goes
pub(super) static RULES: &[Rule] = &[
    // AUTH fails for reasons that are not the credentials, whatever the code. Most of them pass.
    said(&[], &["too many failed|too many login|too many auth|too many authentication|\
          too many unsuccessful|too many bad|too many invalid|too many wrong|login attempts|\
          auth attempts|authentication attempts"])
        .to(&[Auth]).is(Throttled).of(Account).wait_minutes(10),
    said(&[5], &["temporar|try again later|try again in|try later|come back later|internal error|\
          internal server|server error|internal failure|overload|too busy|server busy|\
          connection lost|lost connection|service unavailable|server unavailable|\
          currently unavailable|service not available|server not available"])
        .to(&[Auth]).is(AuthTemp).of(Account),

    // The replies of RFC 4954 that have one meaning, whatever else their text speaks of.
    said(&[534, 535], &[]).is(AuthFailed).of(Account),
    said(&[538], &[]).is(TlsRequired).of(Connection),
    // 432 is a password transition there, and a limit at Exchange Online.
    said(&[432], &["transition"]).is(AuthFailed).of(Account),
    said(&[432], &[]).status(7, 12).is(AuthFailed).of(Account),

    // Of an address that is none no name makes a throttle or greylisting. iCloud, with 5.1.1 for all.
    said(&[550], &["inactive|disabled"]).status(1, 1).is(MailboxDisabled).of(Recipient),
    said(&[550], &["mailbox full|mailbox is full|over quota|overquota|quota exceed|exceeded quota"])
        .status(1, 1).is(MailboxFull).of(Recipient),
    said(&[550], &[]).status(1, 1).is(NoSuchUser).of(Recipient),
    said(&[550], &[]).status(1, 2).is(BadDomain).of(Recipient),
    said(&[550], &[]).status(1, 3).is(Syntax).of(Recipient),
    said(&[550], &[]).statuses(1, 4, 6).is(NoSuchUser).of(Recipient),

    // How many recipients a mail may have, also where the text goes on about limits and sessions.
    said(&[4, 552], &["recipient|rcpt"])
        .status(5, 3).to(&[Rcpt]).is(TooManyRecipients).of(Transaction),
    said(&[], &["too many recipients|too many rcpt|recipient limit|recipients limit|rcpt limit|\
          number of recipients|number of rcpt", "session|transaction|per connection|per message|\
          per mail|this message"])
        .is(TooManyRecipients).of(Transaction),

    // Microsoft 365 speaks of throttling where it is tired of what is wrong with the sender.
    said(&[5], &["send as|on behalf|sendas"]).is(SenderRejected).of(Sender),
    said(&[5], &["throttled", "mailbox full"]).is(MailboxFull).of(Recipient),

    // What this connection has had enough of; the next one may go on. Exim, Yahoo, Microsoft.
    said(&[], &["too many messages|too many mails|too many emails|max message|\
          maximum number of messages|message count|messages per|mails per|message per",
          "this connection|this session|per connection|per session|per smtp|one connection|\
          one session|messages in connection|message count"])
        .is(Throttled).of(Session),
    // OpenSMTPD.
    said(&[4], &["too many messages"]).status(5, 3).to(&[Mail]).is(Throttled).of(Session),
    said(&[], &["too many errors|too many protocol errors|too many bad commands|too many syntax|\
          too many unrecognized|too many nonmail|too many invalid|too many unknown"])
        .is(Throttled).of(Connection),

    // How many connections there may be. All; Orange in French, GoDaddy with a text on the DNS. The
    // words stand together: too much of something else is a reason to close the connection, too.
    said(&[], &["too many connection|too many concurrent|too many simultaneous|too many parallel|\
          too many session|too many open|too many active|too many existing|too many current|\
          too many incoming|too many inbound|too many tcp|too many smtp connection|\
          too many smtp session|too many client connection|trop de connexion"])
        .is(Throttled).of(Connections),
    said(&[], &["maximum number of|limit of", "connections|sessions|simultaneous"])
        .is(Throttled).of(Connections),
    said(&[], &["concurrent connection|concurrent session|concurrency|connection limit|\
          connections limit|connection count|session limit|thread limit"])
        .is(Throttled).of(Connections),
    said(&[4], &["too frequent connect|connecting too|connection rate|connections rate|\
          connection frequency"])
        .is(Throttled).of(Source),
    // QQ says 550 and means an hour.
    said(&[5], &["connection frequency"]).is(Throttled).of(Source).wait_minutes(60),
    said(&[5], &["ip frequency|domain frequency", "limit"])
        .is(Throttled).of(Source).wait_minutes(60),
    said(&[5], &["sender frequency", "limit"]).is(Throttled).of(Sender).wait_minutes(60),
    said(&[5], &["frequency limited|frequency limit exceeded"])
        .is(Throttled).of(Source).wait_minutes(60),

    // What one recipient gets a day.
    said(&[], &["daily|hourly|24 hour|monthly", "limit|quota"])
        .status(2, 2).is(Throttled).of(Recipient),
    said(&[], &["daily|hourly|24 hour|monthly", "limit|quota", "mailbox|recipient has|recipient is|\
          recipient's|receiving"])
        .is(Throttled).of(Recipient),
    // The account's quota: Gmail, Microsoft 365, Amazon SES, SendGrid and relays of all kinds.
    said(&[], &["daily|hourly|24 hour|monthly", "limit|quota", "exceed|reach"])
        .is(Throttled).of(Account).wait_minutes(240),
    said(&[], &["maximum credits|credits exceeded|insufficient credits"])
        .is(Throttled).of(Account).wait_minutes(240),
    said(&[5], &["submissionquotaexceeded|recipientratelimit|sending limit|sending quota|\
          message limit exceeded"])
        .is(Throttled).of(Account).wait_minutes(240),
    said(&[4], &["throttling failure|maximum sending rate|messages per second|sending limit|\
          sending quota"])
        .is(Throttled).of(Account),
    said(&[4], &["too many login|too many auth|too many authentication|login attempts|\
          login frequency"])
        .is(Throttled).of(Account).wait_minutes(10),
    said(&[432], &[]).is(Throttled).of(Account),

    // The same, or of one domain where a server sends for many: cPanel and Exim.
    said(&[], &["domain|sender", "emails per hour|messages per hour|mails per hour|emails per day|\
          messages per day|max defers"])
        .is(Throttled).of(Sender).wait_minutes(60),
    said(&[], &["emails per hour|messages per hour|mails per hour|emails per day|\
          messages per day"])
        .is(Throttled).of(Account).wait_minutes(60),

    // One recipient gets more than it bears. Gmail, Yahoo; Microsoft 365 in an hour.
    said(&[5], &[]).statuses(2, 121, 122).is(Throttled).of(Recipient).wait_minutes(60),
    said(&[], &["mail too quickly|mail at a rate|messages too quickly|messages at a rate"])
        .is(Throttled).of(Recipient),

    // Reputation that slows down. Yahoo; TSS09 and TSS11 say that it will not get better.
    said(&[5], &["[tss|[ts0", "permanently"]).is(PolicySpam).of(Source),
    said(&[4], &["unresolvable|does not resolve|not resolve"]).is(BadDomain).of(Sender),
    said(&[4], &["[tss|[ts0|[ipts"]).is(Throttled).of(Source).wait_minutes(120),
    // A greeting that says for good, and in its text for now.
    said(&[5], &["temporar|try again later|try again in|try later|come back later|overload|too busy|server busy|\
          internal error|internal server"])
        .to(&[Connecting, Hello]).is(Throttled).of(Host),
    // iCloud.
    said(&[4], &["[cs|[hm|[bs"]).is(Throttled).of(Source).wait_minutes(15),
    // NetEase (163, 126): HL is about the address, RP about the rate, DT about the content.
    said(&[4], &["hl:|rp:|dt:"]).is(Throttled).of(Source).wait_minutes(15),
    said(&[5], &["hl:|dt:|rp:"]).is(PolicySpam),
    // Mimecast.
    said(&[], &["temporarily blacklisted|temporarily blocked|temporarily blocklisted"])
        .is(Throttled).of(Source).wait_minutes(30),
    // Comcast.
    said(&[4], &["#rl0"]).is(Throttled).of(Source).wait_minutes(15),
    // Microsoft's consumer hosts, by reputation; RP-001 to RP-003 in older words.
    said(&[4], &["ip reputation|rp-00"]).is(Throttled).of(Source).wait_minutes(90),

    // Gmail slows down who sends much at once, who does not prove who it is, or is in the clear.
    said(&[4], &["unusual rate|unusual amount|unsolicitedratelimit"])
        .is(Throttled).of(Source).wait_minutes(60),
    said(&[5], &["unusual rate|unusual amount"]).is(PolicySpam).of(Source),
    said(&[4], &["been rate limited"]).is(Throttled).of(Source),
    said(&[], &["spf|dkim|dmarc|arc"]).statuses(7, 20, 27).is(PolicyAuth).of(Sender),
    said(&[], &["spf|dkim|dmarc|arc"]).statuses(7, 29, 49).is(PolicyAuth).of(Sender),
    said(&[], &["tls|ssl|encrypt"]).status(7, 29).is(TlsRequired).of(Connection),

    // The rate of all mail from here. Postfix (anvil), Exim, Exchange, IronPort, rspamd.
    said(&[4], &["too much mail|too many messages|too many mails|too many emails|\
          too many recipients from|too many recipients received|\
          recipients this hour"])
        .is(Throttled).of(Source),
    said(&[4], &["ratelimit|rate limit|rate-limit|submission rate|rate exceeded|throttl|\
          slow down|sending too|too fast|too quickly|too frequent|excessive volume|\
          unexpected volume|frequency limit"])
        .is(Throttled).of(Source),
    said(&[5], &["rate limit|ratelimit|rate exceeded|slow down|too frequent"])
        .is(Throttled).of(Source),
    said(&[4], &["too much load|load too high|overload|server busy|system busy|too busy|\
          server is busy"])
        .is(Throttled).of(Host),

    // Greylisting: Postgrey, sqlgrey, rspamd, milter-greylist.
    said(&[], &["greylist|graylist|grey-list|gray-list|grey list|gray list|postgrey"])
        .is(Greylisted).wait_minutes(5),
    // rspamd greylists with these words, and says no more.
    said(&[450, 451], &["try again later|try later|please try again"])
        .status(7, 1).to(&[Rcpt]).is(Greylisted),

    // For now, although the digit says for good; that there is a wait tells it. About a mailbox, and about whatever was said.
    said(&[5], &["mailbox|recipient|user|account", "temporarily unavailable|temporarily disabled|\
          temporarily inactive|temporarily suspended|temporarily locked|temporarily not available"])
        .is(LocalError).of(Recipient).wait_minutes(15),
    said(&[5], &["temporarily rejected|temporarily deferred|temporarily refused|\
          temporarily unavailable|temporarily not|temporarily denied|temporarily unable|\
          temporary failure|temporary error|temporary problem"])
        .is(LocalError).wait_minutes(15),

    // Domains. Before mailboxes and senders, of which they are part.
    said(&[], &["null mx|nullmx|does not accept mail|accepts no mail|no mail here"]).is(BadDomain),
    said(&[], &["domain of sender|sender domain|sender address", "domain not found|not resolve|\
          not exist|domain does not|must exist"])
        .is(BadDomain).of(Sender),
    said(&[], &["domain not found|domain does not exist|domain doesn't exist|host unknown|\
          unknown host|no mx for|no mx record|name or service not known|unrouteable address|\
          unresolvable"])
        .is(BadDomain),
    said(&[], &["complete sender verify|sender verify defer"]).is(BadDomain).of(Sender),

    // Protocol, where words or a code of their own say so.
    said(&[], &["synchroni|pipelining not supported|pipelined after|out of sequence|\
          may not be repeated|already in tls|protocol error|improper pipelining|\
          improper use of smtp command pipelining"])
        .is(BadSequence).of(Connection),
    said(&[5], &["no valid recipients|discarded|all rcpt commands were rejected"])
        .is(BadSequence).of(Transaction),
    said(&[5], &["fully-qualified|fully qualified|fqdn"]).is(Syntax).of(Source),
    said(&[5], &["syntax|syntactically|malformed|not a valid rfc|line too long|null bdat|\
          nul character", "address|command|argument|error|rfc|bdat|request"])
        .is(Syntax),

    // Another server, behind the one that speaks.
    said(&[4], &["recipient's mail server|recipient's server|recipient mail server|\
          recipient server|destination server|destination mail server|remote server"])
        .is(LocalError).of(Recipient),
    // Time that a look at the content took.
    said(&[4], &["timeout|timed out|time out", "scan|milter|content filter|spam filter|virus"])
        .is(LocalError).of(Scope::Mail),

    // Microsoft 365 has a range for reputation, and a list of those who may send to a group.
    said(&[5], &[]).statuses(7, 500, 999).is(PolicySpam).of(Source),
    said(&[5], &[]).status(7, 124).is(SenderRejected).of(Sender),

    // Mailboxes.
    said(&[], &["mailbox full|mailboxfull|mailbox is full|mailbox for user is full|\
          mailbox has exceeded|inbox is full|inbox is out of|over quota|overquota|quota exceed|\
          quotaexceed|exceeded quota|exceeds quota|exceeded storage|exceeds storage|\
          out of storage|too much mail data"])
        .is(MailboxFull).of(Recipient),
    said(&[], &["destinataire pleine|一杯|邮箱已满|容量不足"]).is(MailboxFull).of(Recipient),
    said(&[], &["user unknown|unknown user|unknown recipient|recipient unknown|unknown local|\
          no such user|no such recipient|no such mailbox|no such address|no such person|\
          unknown mailbox|unknown address"])
        .is(NoSuchUser).of(Recipient),
    said(&[], &["no mailbox here|mailbox not found|user not found|account not found|\
          recipient not found|recipientnotfound|address not found|not our user|user not local|\
          not a local user|utilisateur inconnu|destinataire invalide|usuario desconocido"])
        .is(NoSuchUser).of(Recipient),
    said(&[], &["sender verify|sender verification|verify sender"]).is(SenderRejected).of(Sender),
    said(&[], &["user|recipient|mailbox|address|account", "doesn't exist|does not exist"])
        .is(NoSuchUser).of(Recipient),
    said(&[5], &["invalid recipient|invalid mailbox|invalid user|bad recipient|\
          undeliverable address|not a valid recipient|badrcptto|this user"])
        .is(NoSuchUser).of(Recipient),
    said(&[4], &["unverified address|undeliverable address|address verification"]).is(NoSuchUser).of(Recipient),
    // Microsoft 365, of addresses that its directory does not have.
    said(&[5], &["recipient address rejected", "access denied"]).is(NoSuchUser).of(Recipient),
    said(&[5], &["mailbox|account|user|address|recipient", "disabled|inactive|suspended|\
          deactivated|blocked by|locked|expired|closed"])
        .to(&[Rcpt, Data, Content]).statuses(2, 0, 1).is(MailboxDisabled).of(Recipient),
    said(&[5], &["mailbox is disabled|mailbox disabled|account disabled|account is disabled|\
          account has been disabled|user disabled|inactive user|inactive mailbox|inactive email|\
          inactive account|account inactive|mailbox is inactive|account is inactive|\
          user is suspended|account suspended|account is suspended|mailbox unavailable for this"])
        .is(MailboxDisabled).of(Recipient),

    // Relaying.
    said(&[], &["relay", "denied|not permitted|not allowed|disallow|unable|prohibited|refused|\
          without auth|cannot"])
        .is(RelayDenied),
    said(&[], &["we do not relay"]).is(RelayDenied),

    // Authentication.
    said(&[5], &["need ehlo and auth|auth first|authenticate first|authentication required|\
          authentication is required|must authenticate|must be authenticated|not authenticated|\
          unauthenticated senders|login first|log in first"])
        .is(AuthRequired).of(Account),
    said(&[5], &["authentication type|authentication mechanism|auth mechanism|\
          authentication exchange|auth data|decode"])
        .is(AuthFailed).of(Account),
    said(&[4], &["authentication failure|unable to authenticate|authentication server|\
          authentication service|authentication temporarily|temporary auth"])
        .is(AuthTemp).of(Account),
    said(&[5], &["authentication fail|authentication unsuccessful|authentication credentials|\
          invalid credentials|bad credentials|incorrect authentication|authorization failed|\
          user has no permission|username and password not|unauthorized ip"])
        .is(AuthFailed).of(Account),

    // TLS.
    said(&[], &["starttls command|starttls first|must issue a starttls|require|must use|\
          not supported", "tls|ssl|starttls|encryption|requiretls"])
        .to(&[Connecting, Hello, Mail, Rcpt, Data, Content, Auth]).is(TlsRequired).of(Connection),
    said(&[], &["tls currently unavailable|tls not available|tls temporarily|tls unavailable|\
          tls is not available"])
        .is(TlsFailed).of(Host),
    said(&[], &["must issue a starttls"]).is(TlsRequired).of(Connection),

    // Too much of one thing.
    said(&[], &["too many recipients|too many rcpt|recipient limit|recipients limit|rcpt limit|\
          recipient count|allow rcpt|rcpt number|recipients per|maximum number of recipients|\
          multiple destination domains"])
        .is(TooManyRecipients).of(Transaction),
    said(&[], &["message size|message too large|message too big|message is too large|\
          message is too big|mail too large|size limit|size exceed|recipsizelimit|\
          exceeds the maximum size|exceeds size|maximum message size|maximum permitted"])
        .is(TooLarge).of(Scope::Mail),
    said(&[], &["mail loop|routing loop|loop detected|too many hops|hop count|too many received|\
          loops back|mail is looping"])
        .is(Loop).of(Scope::Mail),

    // Content.
    said(&[], &["virus|infected|malware|eicar|ransomware|trojan"]).is(Virus).of(Scope::Mail),
    // qmail names the page on bare line feeds; Haraka, Exchange and Postfix name them.
    said(&[], &["bare <lf>|bare lf|bare line|bare newline|bare <cr>|bare cr|line feed|line-feed|\
          linefeed|djb/docs/smtplf"])
        .is(ContentRejected).of(Scope::Mail),
    said(&[5], &["header", "too long|too large|8-bit|duplicate|malformed|missing|invalid|\
          non-ascii"])
        .is(ContentRejected).of(Scope::Mail),
    said(&[5], &["date header|subject header|message-id header|from header", "one|not|no"])
        .is(ContentRejected).of(Scope::Mail),
    said(&[5], &["line length|line too long|line is too long|lines too long", "message|content|\
          data|body|octets"])
        .is(ContentRejected).of(Scope::Mail),

    // Who may send as whom. Before policy, which says `denied` and `rejected` of everything.
    said(&[5], &["mail from|mail address|from address|sender address|\
          envelope sender", "must be same|must equal|must match|not match|not owned|not verified|\
          not allowed|invalid|not permitted|rejected|badmailfrom"])
        .is(SenderRejected).of(Sender),
    said(&[5], &["sender rejected|sender refused|sender denied|not allowed to send|\
          not authorized to|not authorised to|not permitted to send|\
          email address is not verified|permissions to send|invalid sender|bad sender"])
        .is(SenderRejected).of(Sender),

    // SPF, DKIM, DMARC and the DNS. Comcast, Gmail, Yahoo (AU), Mimecast, Sina and all others.
    said(&[], &["spf|dkim|dmarc|sender id|sender policy framework|sender is unauthenticated|\
          authentication level|authentication requirement|anti-spoof|spoof|(au0"])
        .is(PolicyAuth).of(Sender),
    said(&[], &["ptr|reverse dns|rdns|reverse hostname|reverse host|reverse lookup|your hostname|\
          your host name|remote ip check|helo command rejected|helo name|ehlo name|invalid helo"])
        .is(PolicyAuth).of(Source),

    // Block lists and reputation.
    said(&[], &["blocked using|blacklist|black list|blocklist|block list|block-list|blocklisted|\
          listed by|listed in|listed at|dnsbl|rbl|spamhaus|spamcop|sorbs|barracudacentral|\
          spam-rbl|abuseat|black ip|banned|bloquee|ipcheck|client host blocked|\
          permanently deferred|bad reputation|poor reputation|low reputation|reputation"])
        .is(PolicySpam).of(Source),
    said(&[], &["spam|unsolicited|bulk mail|junk|suspicious|phish|security failure|\
          content denied|content reject|abuse|fraud|unsolicitedmessage"])
        .is(PolicySpam),
    // Microsoft's consumer hosts.
    said(&[5], &["messages from", "weren't sent|were not sent"]).is(PolicySpam).of(Source),
    said(&[5], &["content filter|mail filter"]).is(PolicySpam),
    said(&[5], &["blocked|connection denied|connection refused"]).is(PolicySpam).of(Source),

    // Storage of the server.
    said(&[], &["insufficient|not enough|no space|out of|low on|shortage", "storage|disk|space|\
          memory|system resource|resources"])
        .is(Storage).of(Host),
    said(&[], &["disk full"]).is(Storage).of(Host),

    // Time that passed.
    said(&[], &["timeout exceeded|command timeout|connection timed out|session timed out|\
          timeout waiting|timeout - closing|lost input channel|idle too long|idle timeout|\
          connection expired|timed out waiting|data timeout"])
        .is(Timeout).of(Connection),
    said(&[4], &[]).status(4, 2).is(Timeout).of(Connection),

    // Microsoft 365 has status codes of its own for it, and speaks of access or of trying again.
    said(&[4], &[]).statuses(7, 651, 653).is(Throttled).of(Connections).wait_minutes(15),
    said(&[4], &[]).statuses(7, 500, 699).is(Throttled).of(Source).wait_minutes(15),

    // The server as such.
    said(&[4], &["local problem|local error|internal error|internal server error|server error - |\
          configuration problem|temporary error|temporary failure"])
        .is(LocalError).of(Host),
    said(&[], &["sigterm|shutting down|shutdown|not accepting connection|server ports are busy|\
          service currently unavailable|restarting|going down|maintenance"])
        .is(ShuttingDown).of(Host),
    said(&[421], &["try again later|try later|come back later|essayer plus tard|server error|\
          resources temporarily|resource temporarily|currently unavailable|temporarily deferred|\
          temporarily rejected|deferred due to"])
        .is(Throttled).of(Host),
    said(&[4], &["later|again"]).status(3, 0).is(LocalError).of(Host),
    // The same, but of nothing more than what was said: Mail.ru, Yandex, Mimecast, Yahoo.
    said(&[451], &["try again later|try later|come back later|essayer plus tard|\
          temporary server error|resource temporarily|resources temporarily|\
          currently unavailable|temporarily deferred|temporarily rejected|deferred due to"])
        .is(Throttled),

    said(&[5], &["try again later|try again in|try later|come back later|essayer plus tard"])
        .is(LocalError).wait_minutes(15),

    // What is left of policy.
    said(&[54, 55, 57], &["policy|policies|administrative|prohibit|rejected by destination|\
          host network not allowed|not allowed|not accepted|message rejected|mail rejected|\
          message refused|mail refused"])
        .is(PolicyOther),
    // GMX says the sentence of RFC 5321 for reasons of policy, too: no word on whether the mailbox
    // is there.
    said(&[550], &["requested action not taken: mailbox unavailable"])
        .status(5, 0).is(NoSuchUser).of(Recipient),
    said(&[550], &["requested action not taken: mailbox unavailable"])
        .is(PolicyOther).of(Recipient),

    // Codes of the protocol have one meaning, once the words above were not said.
    said(&[500, 501, 504], &[]).to(&[Auth]).is(AuthFailed).of(Account),
    said(&[502], &[]).is(NotImplemented).of(Host),
    said(&[503], &[]).is(BadSequence).of(Connection),
    said(&[500, 501, 504, 555, 455], &[]).is(Syntax),
    said(&[530], &[]).is(AuthRequired).of(Account),
    said(&[525], &[]).is(AuthFailed).of(Account),
    said(&[435], &[]).is(AuthTemp).of(Account),
    said(&[511, 551, 585], &[]).is(NoSuchUser).of(Recipient),
    said(&[522], &[]).is(MailboxFull).of(Recipient),
    said(&[424, 524], &[]).is(LocalError).of(Recipient),
    said(&[426, 442], &[]).is(Timeout).of(Connection),
    said(&[541], &[]).is(PolicyOther),

    // Enhanced status codes (RFC 3463, the IANA registry). X.1: addresses.
    said(&[], &[]).statuses(1, 0, 1).to(&[Rcpt, Data, Content]).is(NoSuchUser).of(Recipient),
    said(&[], &[]).status(1, 0).to(&[Mail]).is(SenderRejected).of(Sender),
    said(&[], &[]).status(1, 1).is(NoSuchUser).of(Recipient),
    said(&[], &[]).status(1, 2).is(BadDomain).of(Recipient),
    said(&[], &[]).status(1, 3).is(Syntax).of(Recipient),
    said(&[], &[]).status(1, 4).is(NoSuchUser).of(Recipient),
    said(&[], &[]).status(1, 6).is(NoSuchUser).of(Recipient),
    said(&[], &[]).status(1, 7).is(Syntax).of(Sender),
    said(&[], &[]).status(1, 8).is(BadDomain).of(Sender),
    said(&[], &[]).status(1, 9).is(SenderRejected).of(Sender),
    said(&[], &[]).status(1, 10).is(BadDomain).of(Recipient),
    // X.2: mailboxes. 4.2.1 is said by Gmail of those that get too much at once; 4.2.0 by Postgrey.
    said(&[4], &[]).status(2, 1).is(Throttled).of(Recipient),
    said(&[5], &[]).status(2, 1).is(MailboxDisabled).of(Recipient),
    said(&[], &[]).status(2, 2).is(MailboxFull).of(Recipient),
    said(&[], &[]).status(2, 3).is(TooLarge).of(Recipient),
    said(&[], &[]).status(2, 4).is(LocalError).of(Recipient),
    said(&[4], &[]).status(2, 0).to(&[Data, Content]).is(LocalError).of(Recipient),
    said(&[5], &[]).status(2, 251).is(MailboxFull).of(Recipient),
    said(&[5], &[]).statuses(2, 252, 255).is(Throttled).of(Account),
    // X.3: the system.
    said(&[], &[]).status(3, 1).is(Storage).of(Host),
    said(&[4], &[]).status(3, 2).is(ShuttingDown).of(Host),
    said(&[5], &[]).status(3, 2).is(BadDomain).of(Host),
    said(&[5], &[]).status(3, 3).is(NotImplemented).of(Host),
    said(&[], &[]).status(3, 4).is(TooLarge).of(Scope::Mail),
    said(&[4], &[]).statuses(3, 0, 999).is(LocalError).of(Host),
    // X.4: the network.
    said(&[4], &[]).status(4, 1).is(Timeout).of(Connection),
    // Microsoft 365: not in its directory.
    said(&[5], &[]).status(4, 1).is(NoSuchUser).of(Recipient),
    said(&[4], &[]).status(4, 5).is(Throttled).of(Host),
    said(&[5], &[]).status(4, 5).is(Throttled).of(Account).wait_minutes(240),
    said(&[], &[]).status(4, 4).is(BadDomain).of(Recipient),
    said(&[], &[]).status(4, 6).is(Loop).of(Scope::Mail),
    // X.5: the protocol.
    said(&[], &[]).status(5, 1).is(BadSequence).of(Connection),
    said(&[], &[]).status(5, 2).is(Syntax),
    said(&[], &[]).status(5, 3).is(TooManyRecipients).of(Transaction),
    said(&[], &[]).status(5, 4).is(Syntax),
    said(&[5], &[]).status(5, 6).is(AuthFailed).of(Account),
    // X.6: the content.
    said(&[], &[]).statuses(6, 0, 999).is(ContentRejected).of(Scope::Mail),
    // X.7: policy.
    said(&[], &[]).status(7, 2).is(PolicyOther).of(Recipient),
    said(&[5], &[]).status(7, 8).is(AuthFailed).of(Account),
    said(&[4], &[]).status(7, 8).is(AuthTemp).of(Account),
    said(&[5], &[]).status(7, 3).to(&[Auth]).is(AuthFailed).of(Account),
    said(&[5], &[]).status(7, 9).to(&[Auth]).is(AuthFailed).of(Account),
    said(&[], &[]).status(7, 10).is(TlsFailed),
    said(&[], &[]).status(7, 11).is(TlsRequired).of(Connection),
    said(&[], &[]).status(7, 13).is(MailboxDisabled).of(Account),
    // RFC 7293: the mailbox, or its domain, has another owner since.
    said(&[], &[]).statuses(7, 17, 18).is(NoSuchUser).of(Recipient),
    said(&[], &[]).statuses(7, 20, 24).is(PolicyAuth).of(Sender),
    said(&[], &[]).status(7, 25).is(PolicyAuth).of(Source),
    said(&[], &[]).status(7, 26).is(PolicyAuth).of(Sender),
    // RFC 7505: the sender's domain has a null MX, so nobody could answer.
    said(&[5], &[]).status(7, 27).is(BadDomain).of(Sender),
    said(&[4], &[]).status(7, 27).is(PolicyAuth).of(Sender),
    said(&[4], &[]).status(7, 28).is(Throttled).of(Source).wait_minutes(45),
    said(&[5], &[]).status(7, 28).is(PolicySpam).of(Source),
    said(&[5], &[]).status(7, 29).is(PolicyAuth).of(Sender),
    said(&[], &[]).status(7, 30).is(TlsRequired),
    said(&[], &[]).status(7, 32).is(PolicyAuth).of(Sender),
    said(&[], &[]).status(7, 54).is(RelayDenied),
    said(&[], &[]).status(7, 57).is(AuthRequired).of(Account),
    said(&[], &[]).status(7, 60).is(SenderRejected).of(Sender),
    said(&[], &[]).status(7, 66).is(TlsRequired).of(Connection),
    said(&[5], &[]).statuses(7, 0, 999).is(PolicyOther),
    said(&[4], &[]).status(7, 0).to(&[Auth]).is(AuthTemp).of(Account),
    said(&[421], &[]).statuses(7, 0, 999).is(Throttled).of(Source),
    said(&[454], &[]).to(&[Auth]).is(AuthTemp).of(Account),

    // What the codes say where nobody said more.
    said(&[454], &[]).to(&[StartTls]).is(TlsFailed).of(Host),
    said(&[421], &[]).is(ShuttingDown).of(Host),
    // RFC 5321, 4.5.3.1.10: at RCPT it is the number of recipients, also if it is 552.
    said(&[452, 552], &[]).to(&[Rcpt]).is(TooManyRecipients).of(Transaction),
    said(&[452], &[]).is(Storage).of(Host),
    said(&[552], &[]).is(TooLarge),
    said(&[451], &["failure|problem|error|aborted|unable to|misconfig|configuration|local"])
        .is(LocalError).of(Host),
    said(&[4], &["queue|expansion"]).is(LocalError).of(Host),
    // Servers that greylist need not say so. Other reasons have other status codes.
    said(&[4], &[]).statuses(1, 0, 999).is(LocalError).of(Recipient),
    said(&[4], &[]).statuses(2, 5, 999).is(LocalError).of(Recipient),
    said(&[4], &[]).statuses(4, 0, 999).is(LocalError).of(Host),
    said(&[4], &[]).statuses(5, 0, 999).is(LocalError).of(Host),
    said(&[450, 451, 459], &[]).to(&[Rcpt]).is(Greylisted),
    said(&[45], &[]).statuses(7, 0, 999).is(PolicyOther),
    said(&[521, 556], &[]).is(BadDomain),
    said(&[550, 553], &[]).to(&[Rcpt]).is(NoSuchUser).of(Recipient),
    said(&[550, 553], &[]).to(&[Mail]).is(SenderRejected).of(Sender),
    said(&[571], &[]).is(PolicyOther),
    said(&[5], &[]).is(PolicyOther),
    said(&[4], &[]).is(LocalError),
];
