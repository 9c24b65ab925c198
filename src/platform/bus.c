/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/bus.h"

#include <errno.h>
#include <systemd/sd-bus.h>

#include "base/log.h"
#include "base/str.h"
#include "platform/bus-json.h"

#define RETRY        (30 * USEC_PER_SEC)
#define CALL_TIMEOUT (25 * USEC_PER_SEC)
#define TABLE_MAX    32

struct Bus {
        Loop *loop;
        const BusMethod *methods;
        const BusSignal *signals;
        void *userdata;
        sd_bus_vtable vtable[TABLE_MAX + 2]; /* with its start and its end */
        sd_bus *connection;
        LoopSource *retry;
        bool complained;
        BusSettled settled; /* until it has been called */
};

/* "", "s", "ss" ...: every argument is a string. */
static const char *args_signature(unsigned n)
{
        static const char all[] = "ssss";
        return all + (sizeof(all) - 1 - MIN(n, BUS_ARGS_MAX));
}

static const BusMethod *find_method(const Bus *b, const char *name)
{
        for (const BusMethod *m = b->methods; m->name; m++)
                if (streq(m->name, name))
                        return m;
        return NULL;
}

static int reply(sd_bus_message *call, BusResult kind, const json_t *result)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = sd_bus_message_new_method_return(call, &m);
        if (r >= 0)
                r = bus_append_result(m, kind, result);
        return r < 0 ? r : sd_bus_send(NULL, m, NULL);
}

struct BusCall {
        sd_bus_message *message;
};

static int answer_later(Bus *b, const BusMethod *method, sd_bus_message *message)
{
        BusCall *c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->message = sd_bus_message_ref(message);
        method->later(c, b->userdata);
        return 1; /* handled */
}

void bus_answer(BusCall *call, int error, const char *message)
{
        int r;
        if (error >= 0)
                r = sd_bus_reply_method_return(call->message, "");
        else if (message)
                r = sd_bus_reply_method_errorf(call->message, BUS_INTERFACE ".Error.Failed", "%s",
                                               message);
        else
                r = sd_bus_reply_method_errno(call->message, error, NULL);
        if (r < 0)
                log_message_errno(LOG_DEBUG, r, NULL, "The answer does not reach its caller");
        sd_bus_message_unref(call->message);
        free(call);
}

/* What fails here fails for the caller alone: sd-bus turns a negative return into an error reply.
 */
static int on_method(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
        Bus *b = userdata;
        const char *args[BUS_ARGS_MAX] = { 0 };
        const char *message = NULL;
        const BusMethod *method = find_method(b, sd_bus_message_get_member(call));
        if (!method)
                return -EOPNOTSUPP;
        if (method->later)
                return answer_later(b, method, call);
        for (unsigned i = 0; i < method->n_args; i++) {
                int r = sd_bus_message_read_basic(call, SD_BUS_TYPE_STRING, &args[i]);
                if (r <= 0)
                        return r < 0 ? r : -EINVAL;
        }
        json_t *result = NULL;
        int r = method->handler(args, &result, &message, b->userdata);
        if (r < 0 && message)
                r = sd_bus_error_set(error, BUS_INTERFACE ".Error.Failed", message);
        else if (r >= 0)
                r = reply(call, method->result, result);
        json_decref(result);
        return r;
}

/* What SD_BUS_METHOD_WITH_NAMES() and its like expand to: they want literals. */
static void build_vtable(Bus *b)
{
        size_t n = 0;
        b->vtable[n++] = (sd_bus_vtable)SD_BUS_VTABLE_START(0);
        for (const BusMethod *m = b->methods; m->name && n <= TABLE_MAX; m++)
                b->vtable[n++] = (sd_bus_vtable){
                        .type = _SD_BUS_VTABLE_METHOD,
                        .flags = SD_BUS_VTABLE_UNPRIVILEGED,
                        .x.method = { .member = m->name,
                                      .signature = args_signature(m->n_args),
                                      .result = bus_result_signature(m->result),
                                      .handler = on_method,
                                      .names = m->names },
                };
        for (const BusSignal *s = b->signals; s->name && n <= TABLE_MAX; s++)
                b->vtable[n++] = (sd_bus_vtable){
                        .type = _SD_BUS_VTABLE_SIGNAL,
                        .x.signal = { .member = s->name,
                                      .signature = args_signature(s->n_args),
                                      .names = s->names },
                };
        b->vtable[n] = (sd_bus_vtable)SD_BUS_VTABLE_END;
}

static void drop_connection(Bus *b)
{
        if (!b->connection)
                return;
        sd_bus_detach_event(b->connection);
        b->connection = sd_bus_close_unref(b->connection);
}

static void settle(Bus *b)
{
        BusSettled settled = b->settled;
        b->settled = NULL;
        if (settled)
                settled(b->userdata);
}

static void try_later(Bus *b, int error, const char *what)
{
        drop_connection(b);
        if (!b->complained)
                log_warning_errno(
                        error, "%s; sallyportctl will not reach this daemon until it works", what);
        b->complained = true;
        loop_timer_arm_relative(b->retry, RETRY);
        settle(b);
}

static int on_retry_soon(Bus *b)
{
        return loop_timer_arm_relative(b->retry, 0);
}

/* The connection may not be dropped from inside its own callback: the timer does. */
static int on_name(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        Bus *b = userdata;
        settle(b);
        if (!sd_bus_message_is_method_error(m, NULL)) {
                b->complained = false;
                return 0;
        }
        if (!b->complained)
                log_warning("The system bus does not give us the name %s: %s", BUS_NAME,
                            strempty(sd_bus_message_get_error(m)->message));
        b->complained = true;
        return loop_timer_arm_relative(b->retry, RETRY);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        log_notice("The system bus is gone; connecting again");
        return on_retry_soon(userdata);
}

static int connect_bus(Bus *b)
{
        int r = sd_bus_open_system(&b->connection);
        if (r < 0)
                return r;
        r = sd_bus_set_exit_on_disconnect(b->connection, false);
        if (r >= 0)
                r = sd_bus_attach_event(b->connection, loop_sd_event(b->loop),
                                        SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_add_object_vtable(b->connection, NULL, BUS_PATH, BUS_INTERFACE,
                                             b->vtable, b);
        if (r >= 0)
                r = sd_bus_match_signal_async(b->connection, NULL, "org.freedesktop.DBus.Local",
                                              "/org/freedesktop/DBus/Local",
                                              "org.freedesktop.DBus.Local", "Disconnected",
                                              on_disconnected, NULL, b);
        if (r >= 0)
                r = sd_bus_request_name_async(b->connection, NULL, BUS_NAME,
                                              SD_BUS_NAME_REPLACE_EXISTING, on_name, b);
        return r < 0 ? r : 0;
}

static int on_connect(void *userdata)
{
        Bus *b = userdata;
        drop_connection(b);
        int r = connect_bus(b);
        if (r < 0)
                try_later(b, r, "Cannot connect to the system bus");
        return 0;
}

int bus_serve(Loop *loop, const BusMethod *methods, const BusSignal *signals, BusSettled settled,
              void *userdata, Bus **ret)
{
        _cleanup_(bus_freep) Bus *b = calloc(1, sizeof(*b));
        if (!b)
                return -ENOMEM;
        *b = (Bus){ .loop = loop,
                    .methods = methods,
                    .signals = signals,
                    .userdata = userdata,
                    .settled = settled };
        build_vtable(b);
        int r = loop_add_timer(loop, &b->retry, LOOP_PEER, on_connect, b);
        if (r >= 0)
                r = loop_timer_arm_relative(b->retry, 0);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(b);
        return 0;
}

Bus *bus_free(Bus *b)
{
        if (!b)
                return NULL;
        loop_source_free(b->retry);
        if (b->connection) {
                sd_bus_detach_event(b->connection);
                b->connection = sd_bus_flush_close_unref(b->connection);
        }
        free(b);
        return NULL;
}

void bus_emit(Bus *b, const char *signal, const char *const *args)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        const BusSignal *s = b->signals;
        while (s->name && !streq(s->name, signal))
                s++;
        if (!s->name || !b->connection)
                return;
        int r = sd_bus_message_new_signal(b->connection, &m, BUS_PATH, BUS_INTERFACE, signal);
        for (unsigned i = 0; r >= 0 && i < s->n_args; i++)
                r = sd_bus_message_append_basic(m, SD_BUS_TYPE_STRING, args[i]);
        if (r >= 0)
                r = sd_bus_send(b->connection, m, NULL);
        if (r < 0 && r != -ENOTCONN)
                log_warning_errno(r, "Cannot send the D-Bus signal %s, ignoring", signal);
}

/* Turns what sd-bus says into what the person at the command line can do about it. */
static char *call_message(int r, const sd_bus_error *error)
{
        char *message = NULL;
        int n;
        if (sd_bus_error_has_name(error, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
            sd_bus_error_has_name(error, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                n = asprintf(&message, "sallyportd is not running: systemctl status sallyportd");
        else if (sd_bus_error_has_name(error, SD_BUS_ERROR_ACCESS_DENIED))
                n = asprintf(&message, "not permitted: use sudo, or join the group sallyport");
        else if (sd_bus_error_is_set(error) && error->message)
                n = asprintf(&message, "%s", error->message);
        else
                n = asprintf(&message, "cannot reach sallyportd over D-Bus: %s", strerror(-r));
        return n < 0 ? NULL : message;
}

static int call(sd_bus *bus, const char *method, const char *const *args, unsigned n_args,
                sd_bus_error *error, json_t **ret)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *answer = NULL;
        int r = sd_bus_message_new_method_call(bus, &m, BUS_NAME, BUS_PATH, BUS_INTERFACE, method);
        for (unsigned i = 0; r >= 0 && i < n_args; i++)
                r = sd_bus_message_append_basic(m, SD_BUS_TYPE_STRING, args[i]);
        if (r >= 0)
                r = sd_bus_call(bus, m, CALL_TIMEOUT, error, &answer);
        if (r >= 0 && ret)
                r = bus_read_value(answer, ret);
        return r < 0 ? r : 0;
}

int bus_call(const char *method, const char *const *args, unsigned n_args, json_t **ret,
             char **ret_message)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r = sd_bus_open_system(&bus);
        if (r >= 0)
                r = call(bus, method, args, n_args, &error, ret);
        if (r < 0)
                *ret_message = call_message(r, &error);
        return r;
}
