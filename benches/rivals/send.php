<?php
// PHPMailer, keep-alive, a process a connection: php send.php HOST PORT MAILS CONNECTIONS SIZE RUN
foreach (['Exception', 'PHPMailer', 'SMTP'] as $part) {
    require getenv('PHPMAILER') . "/src/$part.php";
}
use PHPMailer\PHPMailer\PHPMailer;

if ($argv[1] === '--version') {
    echo PHPMailer::VERSION, ', PHP ', PHP_VERSION, "\n";
    exit;
}
[, $host, $port, $mails, $connections, $size, $run] = $argv;

function send($host, $port, $mails, $connections, $size, $run, $connection)
{
    $mailer = new PHPMailer(true);
    $mailer->isSMTP();
    $mailer->Host = $host;
    $mailer->Port = (int)$port;
    $mailer->SMTPKeepAlive = true;
    $mailer->SMTPAutoTLS = false;
    $mailer->SMTPOptions = ['socket' => ['tcp_nodelay' => true]];
    $mailer->XMailer = ' ';
    $mailer->setFrom('a@posthaste.example');
    $mailer->addAddress('b@posthaste.example');
    $mailer->Subject = 'rivals';
    $mailer->Body = str_repeat(str_repeat('x', 70) . "\r\n", intdiv($size - 450, 72));
    for ($number = $connection; $number < $mails; $number += $connections) {
        $mailer->MessageID = sprintf('<%d.%d@posthaste.example>', $run, 1000000000 + $number);
        $mailer->send();
    }
    $mailer->smtpClose();
}

$start = microtime(true);
for ($connection = 0; $connection < $connections; $connection++) {
    if (pcntl_fork() === 0) {
        send($host, $port, $mails, $connections, $size, $run, $connection);
        exit(0);
    }
}
$failed = 0;
while (pcntl_wait($status) > 0) {
    $failed |= $status;
}
echo microtime(true) - $start, "\n";
exit($failed === 0 ? 0 : 1);
