/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Takes a changed configuration into the running daemon: whole, or not at all. */

#include "daemon/gateway.h"
#include "platform/reason.h"

/* Parses and checks everything, loads the reference values and the packet filter, and only then
 * swaps: on any error the settings, devices, reference values and rules in force stay. Devices that
 * are gone, or whom other certificates or addresses tell now, lose their sessions. 0, or a negative
 * errno that was logged, with a sentence for who asked: -EBUSY names keys that take a restart. */
int gateway_reload(Gateway *g, Reason *ret);

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
