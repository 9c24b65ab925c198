/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Whom the doors let in, and what becomes of those who are in when that changes. A device whose
 * certificate is revoked loses its sessions, its posture, its evidence and its way out in the same
 * turn of the loop; one whose authority is gone loses what it has shown and its sessions; nobody
 * else notices. */

#include "daemon/settings.h"
#include "domain/registry.h"
#include "platform/reason.h"
#include "platform/trust.h"
#include "platform/x509.h"

typedef struct Gateway Gateway;
typedef struct Trusted Trusted;

/* A list that was fetched is kept here, below the state directory, and counts like those that the
 * configuration names. */
#define TRUSTED_FETCHED "devices.crl"

/* And who is revoked is kept here. */
#define TRUSTED_KEPT "revoked"

/* Closes the devices that were revoked when the daemon last ran. `ret_generation`: how often that
 * was written down. Blocks. A negative errno that was logged. */
int trusted_restore(const Settings *s, Registry *registry, usec_t now, uint64_t *ret_generation);

/* By the files of `s`. Blocks. A negative errno with the reason. */
int trusted_load(const Settings *s, Reason *reason, Trust **ret);

/* Loads them for the settings in force. Before the doors are opened. */
int trusted_new(Gateway *g, Reason *reason, Trusted **ret);
/* Blocks on what is still to be kept. */
Trusted *trusted_free(Trusted *t);
DEFINE_CLEANUP(Trusted, trusted_free)
/* In force; holds until it is changed. */
Trust *trusted_now(const Trusted *t);

/* Now and then: tells when a list becomes overdue. */
void trusted_tick(Trusted *t);

/* What the settings `s` bring, while they may still be refused: `trust` as trusted_load() gave it
 * for them, and the versions of TLS. A negative errno with the reason. */
int trusted_prepare(Trusted *t, const Settings *s, Trust *trust, Reason *reason);
/* Takes it into force: ends sessions, closes devices. After the registry has its devices. */
void trusted_commit(Trusted *t);
void trusted_cancel(Trusted *t);

/* At both doors. */
void trusted_end_sessions(Gateway *g, DeviceState *d);
/* `d` was let in with this certificate. */
void trusted_note(Trusted *t, DeviceState *d, const PeerCertificate *certificate);
/* It is no longer configured, or is known by something else. */
void trusted_forget(Trusted *t, const DeviceState *d);

/* 0, or why the list was not taken: a negative errno and a sentence. */
typedef void (*TrustedDone)(int error, const char *reason, void *userdata);
/* A file of revocation lists (one in DER, or one of each authority in PEM) was fetched to `path`,
 * on the file system of the state directory. It is read on a thread together with what the
 * configuration names; when it is good it replaces the one that was fetched before, takes the place
 * of its file, and is in force before `done` is called, from the loop, never from inside this call.
 * A bad one changes nothing and stays where it is, and so does one in which a list is older than
 * the one before, or missing (-ESTALE): a copy that is as old is good. -EBUSY: one is on its way;
 * -ENOMEM, -EAGAIN: `done` is not called. */
int gateway_trust_changed(Gateway *g, const char *path, TrustedDone done, void *userdata);
