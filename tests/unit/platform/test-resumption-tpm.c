/* SPDX-License-Identifier: GPL-3.0-or-later */

/* TLSKey=tpm: who resumes does not need the TPM. It is not there at all. */

#include "swtpm.h"
#include "visitor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void on_established(TlsConnection *c, const PeerCertificate *certificate, void *userdata)
{
        tls_connection_set_handler(c, &visitor_handler, NULL);
}

static void on_refused(const struct sockaddr_storage *peer, const char *reason, const char *detail,
                       void *userdata)
{
        print_message("refused: %s, %s\n", reason, detail);
}

static const TlsServerPort port = { .established = on_established, .refused = on_refused };

static void serve(Visitor *v, Identity *id)
{
        Reason reason;
        Credential *c = NULL;
        PkiCertificate authority = PKI(.name = "root", .ca = true);
        _cleanup_(trust_unrefp) Trust *trust = pki_trust(&authority, NULL);
        const TlsServerConfig config = {
                .trust = trust,
                .connections_max = 10,
                .handshakes_max = 10,
                .handshake_timeout = 10 * USEC_PER_SEC,
                .input_max = 65536,
                .output_max = 65536,
        };
        v->device = PKI(.name = "dev1", .issuer = &authority, .serial = 2);
        assert_int_equal(identity_credential(id, &c, &reason), 0);
        assert_true(credential_in_tpm(c));
        visitor_serve(v, &config, &port, NULL, c);
}

static void resumes_without_tpm(void **state)
{
        Lab *lab = *state;
        Visitor v = { 0 };
        Identity *id;
        Reason reason;
        assert_int_equal(loop_new(&v.loop), 0);
        assert_int_equal(identity_open(lab->tcti, lab->state, &id, &reason), 0);
        lab_enroll(lab, id, false);
        assert_int_equal(identity_attach(id, v.loop), 0);
        serve(&v, id);
        assert_int_equal(visitor_visit(&v, 0), VISIT_FULL);
        lab_stop_tpm(lab);
        for (int i = 0; i < 3; i++)
                assert_int_equal(visitor_visit(&v, 0), VISIT_RESUMED);
        visitor_forget(&v);
        assert_int_equal(visitor_visit(&v, 0), VISIT_REFUSED); /* a full one does need it */
        lab_start_tpm(lab);
        visitor_forget(&v);
        tls_server_free(v.server);
        identity_free(id);
        loop_free(v.loop);
        pki_done();
}

static int setup(void **state)
{
        int r = lab_setup(state);
        lab_create_identity(*state, true);
        return r;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(resumes_without_tpm),
        };
        return cmocka_run_group_tests(tests, setup, lab_teardown);
}
