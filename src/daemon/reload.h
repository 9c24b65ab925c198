/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Takes a changed configuration into the running daemon: whole, or not at all. */

#include "daemon/gateway.h"
#include "platform/reason.h"

typedef struct Reload Reload;

/* 0, or a negative errno that was logged, with a sentence for who asked: -EBUSY names keys that
 * take a restart, or tells that another reload is under way. */
typedef void (*ReloadDone)(int error, const char *reason, void *userdata);

/* Parses and checks everything, reads whom to let in on a thread, loads the reference values and
 * the packet filter, and only then swaps: on any error the settings, devices, reference values and
 * rules in force stay. Devices that are gone, or whom other certificates or addresses tell now,
 * lose their sessions, and those for which other rules hold their MQTT sessions. `done` is called
 * once, perhaps from inside; without it (NULL) a reload that is under way is followed by another.
 */
void gateway_reload(Gateway *g, ReloadDone done, void *userdata);
/* Ends one that is under way; blocks until its thread has read. Takes NULL. */
Reload *reload_free(Reload *l);

/* The keys that differ and that only a restart can change, such as "[Gateway] Name=", with commas
 * between them; false for none. What does not fit is left out. */
bool reload_needs_restart(const Settings *now, const Settings *fresh, char *ret, size_t size);
/* SHA-256 of the file with the upstream's authorities; zeros when there is none to be read. */
void reload_upstream_digest(const Settings *s, uint8_t ret[static 32]);
/* Whether the upstream, or what it is known by, is another in `fresh`. Negative: it cannot be. */
int reload_check_upstream(const Gateway *g, const Settings *fresh, bool *ret_differs,
                          Reason *reason);
/* Connects as the settings in force say: the connection that stands lasts until then. */
void reload_upstream(Gateway *g);
/* Would the gateway let in other peers as this device than before? */
bool reload_ends_sessions(const Device *now, const Device *fresh);
/* Do other grants, client identifiers or limits hold for its MQTT sessions? How much it may send is
 * not among them: the registry takes that over in place. */
bool reload_changes_rules(const Device *now, const Device *fresh);
