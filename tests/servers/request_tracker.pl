# Works on a Request Tracker through its own classes: one JSON command a line on stdin, one JSON answer a line on stdout.
# Started by request_tracker.py. No scrip runs here, so nothing is mailed and a ticket takes some milliseconds.
use strict;
use warnings;
use lib "/usr/share/request-tracker5/lib";
use JSON ();
use MIME::Base64 ();
use RT;
RT->LoadConfig;
RT->Init;
require RT::AuthToken;
require RT::Group;
require RT::Interface::Email;

{
    no warnings 'redefine';
    my $made = \&RT::Record::_NewTransaction;
    *RT::Record::_NewTransaction = sub { my $self = shift; return $made->($self, @_, ActivateScrips => 0) };
}

my %users;

sub current {
    my $name = shift;
    return RT->SystemUser unless defined $name;
    return $users{$name} if $users{$name};
    my $user = RT::CurrentUser->new;
    $user->Load($name);
    $user->LoadByEmail($name) unless $user->id;
    unless ($user->id) {
        my $made = RT::User->new(RT->SystemUser);
        my ($id, $why) = $made->Create(Name => $name, EmailAddress => $name, Privileged => 0);
        die "$name: $why" unless $id;
        $user->Load($name);
    }
    return $users{$name} = $user;
}

sub entity {
    my $args = shift;
    my $entity = MIME::Entity->build(
        Type => $args->{html} ? "text/html" : "text/plain",
        Charset => "UTF-8",
        Data => [Encode::encode("UTF-8", $args->{text} // "")],
        Encoding => "8bit",
        ($args->{subject} ? (Subject => Encode::encode("MIME-Header", $args->{subject})) : ()),
    );
    for my $file (@{ $args->{files} || [] }) {
        $entity->attach(
            Type => $file->{type},
            Filename => Encode::encode("MIME-Header", $file->{name}),
            Data => MIME::Base64::decode($file->{content}),
            Encoding => "base64",
            Disposition => "attachment",
        );
    }
    return $entity;
}

sub set_time {
    my ($transaction, $at) = @_;
    return unless $at;
    RT->DatabaseHandle->dbh->do("UPDATE Transactions SET Created = ? WHERE id = ?", undef, $at, $transaction);
    return;
}

sub ticket {
    my ($id, $user) = @_;
    my $ticket = RT::Ticket->new($user || RT->SystemUser);
    $ticket->Load($id);
    die "no ticket $id" unless $ticket->id;
    return $ticket;
}

my %commands = (
    setup => sub {
        my %rights = (
            Everyone => [qw(CreateTicket ReplyToTicket CommentOnTicket)],
            Privileged => [qw(SeeQueue ShowTicket ShowTicketComments ReplyToTicket CommentOnTicket CreateTicket ModifyTicket
                OwnTicket ManageAuthTokens)],
        );
        for my $name (sort keys %rights) {
            my $group = RT::Group->new(RT->SystemUser);
            $group->LoadSystemInternalGroup($name);
            for my $right (@{ $rights{$name} }) {
                my ($ok, $why) = $group->PrincipalObj->GrantRight(Right => $right, Object => RT->System);
                die "$name $right: $why" unless $ok;
            }
        }
        return 1;
    },
    user => sub {
        my $args = shift;
        my $user = RT::User->new(RT->SystemUser);
        my ($id, $why) = $user->Create(
            Name => $args->{name}, EmailAddress => $args->{email} // "", RealName => $args->{real_name} // "",
            Privileged => $args->{privileged} ? 1 : 0, ($args->{timezone} ? (Timezone => $args->{timezone}) : ()),
            ($args->{password} ? (Password => $args->{password}) : ()),
        );
        die $why unless $id;
        for my $grant (@{ $args->{rights} || [] }) {
            my $object = RT->System;
            if (defined $grant->{queue}) {
                $object = RT::Queue->new(RT->SystemUser);
                $object->Load($grant->{queue});
            }
            my ($ok, $what) = $user->PrincipalObj->GrantRight(Right => $grant->{right}, Object => $object);
            die $what unless $ok;
        }
        return $id;
    },
    token => sub {
        my $args = shift;
        my $user = current($args->{user});
        my ($id, $why, $text) = RT::AuthToken->new(RT->SystemUser)->Create(Owner => $user->id, Description => "test");
        die $why unless $id;
        return $text;
    },
    queue => sub {
        my $args = shift;
        my $queue = RT::Queue->new(RT->SystemUser);
        my ($id, $why) = $queue->Create(Name => $args->{name});
        die $why unless $id;
        return $id;
    },
    create => sub {
        my $args = shift;
        my $ticket = RT::Ticket->new(current($args->{by}));
        my ($id, $transaction, $why) = $ticket->Create(
            Queue => $args->{queue}, Subject => $args->{subject}, Requestor => $args->{requestors} || [$args->{by}],
            ($args->{cc} ? (Cc => $args->{cc}) : ()), MIMEObj => entity($args),
        );
        die $why unless $id;
        set_time($transaction, $args->{at});
        return { ticket => $id + 0, transaction => $transaction + 0 };
    },
    write => sub {
        my $args = shift;
        my $ticket = ticket($args->{ticket}, current($args->{by}));
        my $kind = $args->{note} ? "Comment" : "Correspond";
        my ($ok, $why, $transaction) = $ticket->$kind(MIMEObj => entity($args));
        die $why unless $ok;
        set_time($transaction->id, $args->{at});
        return $transaction->id + 0;
    },
    merge => sub {
        my $args = shift;
        my ($ok, $why) = ticket($args->{ticket})->MergeInto($args->{into});
        die $why unless $ok;
        return 1;
    },
    status => sub {
        my $args = shift;
        my ($ok, $why) = ticket($args->{ticket})->SetStatus($args->{status});
        die $why unless $ok;
        return 1;
    },
    sql => sub {
        my $args = shift;
        return RT->DatabaseHandle->dbh->do($args->{statement}, undef, @{ $args->{values} || [] }) + 0;
    },
);

my $json = JSON->new->utf8;
$| = 1;
while (my $line = <STDIN>) {
    my $answer = eval {
        my $asked = $json->decode($line);
        my @answers;
        RT->DatabaseHandle->BeginTransaction;
        push @answers, ($commands{ $_->{do} } || die "no command $_->{do}")->($_) for @$asked;
        RT->DatabaseHandle->Commit;
        { answers => \@answers };
    };
    unless ($answer) {
        my $why = "$@";
        RT->DatabaseHandle->Rollback("force");
        $answer = { error => $why };
    }
    print $json->encode($answer), "\n";
}
