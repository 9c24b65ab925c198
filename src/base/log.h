/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Log messages with journal fields. Text goes to a sink: standard error unless the daemon sets
 * one (the journal). Peer bytes never go in raw: escape them with str_escape() first. */

#include <stdarg.h>
#include <syslog.h>

#include "base/util.h"

typedef struct LogField {
        const char *key;   /* a journal field name: DEVICE, REASON, PEER ... */
        const char *value; /* NULL: the field is left out */
} LogField;

/* `fields` ends with a NULL key. `message` is one line without a newline. Called from any thread,
 * by one at a time; may not log itself. */
typedef void (*LogSink)(int level, const LogField *fields, const char *message, void *userdata);

void log_set_sink(LogSink sink, void *userdata);
/* Messages above this syslog level are dropped. Default LOG_INFO. */
void log_set_max_level(int level);
bool log_enabled(int level);
/* "debug", "info", "notice", "warning", "err": -EINVAL otherwise. */
int log_level_from_string(const char *s);

void log_message(int level, const LogField *fields, const char *format, ...) _printf_(3, 4);
/* Returns `error` (a negative errno) so that `return log_errno(...)` reads well; the message gets
 * ": strerror" appended. */
int log_message_errno(int level, int error, const LogField *fields, const char *format, ...)
        _printf_(4, 5);

/* log_warning_with(LOG_FIELDS({ "DEVICE", name }, { "REASON", "unknown-ca" }), "Refused ..."); */
#define LOG_FIELDS(...) ((const LogField[]){ __VA_ARGS__, { NULL, NULL } })

#define log_debug(...)                log_message(LOG_DEBUG, NULL, __VA_ARGS__)
#define log_info(...)                 log_message(LOG_INFO, NULL, __VA_ARGS__)
#define log_notice(...)               log_message(LOG_NOTICE, NULL, __VA_ARGS__)
#define log_warning(...)              log_message(LOG_WARNING, NULL, __VA_ARGS__)
#define log_error(...)                log_message(LOG_ERR, NULL, __VA_ARGS__)
#define log_warning_errno(error, ...) log_message_errno(LOG_WARNING, error, NULL, __VA_ARGS__)
#define log_error_errno(error, ...)   log_message_errno(LOG_ERR, error, NULL, __VA_ARGS__)
