# SPDX-License-Identifier: GPL-3.0-or-later
"""Gateways that stand on the lab's `gw` in turn, on port 8883 for devices and over mutual TLS to the
lab's broker: sallyportd, and others that are installed on this machine. Each other one has the
server's certificate from a CA below the operator's, as sallyportd's minted one is, and settings that
are good for throughput."""

import json
import os
import shutil
import subprocess
import time

from bench import TREE, check

UPSTREAM = "203.0.113.10:8883"
PREFIX = "plant/gw1/"
RUN = "/run/bench"  # on the gateway


def openssl(lab, *argv):
    subprocess.run(["openssl", *argv], check=True, cwd=lab.pki, stderr=subprocess.DEVNULL)


def request(lab, name, subject):
    openssl(lab, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", f"{name}.key", "-subj", subject, "-out", f"{name}.csr")


def certify(lab, name, subject, authority, extensions):
    request(lab, name, subject)
    with open(os.path.join(lab.pki, f"{name}.ext"), "w") as f:
        f.write("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                f"subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n{extensions}\n")
    openssl(lab, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey",
            f"{authority}.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out",
            f"{name}.pem")


def make_pki(lab):
    """plain.pem: a CA below the operator's. server.pem: a gateway's certificate from it.
    uplink.pem: what the gateway shows upstream."""
    pki = os.path.join(TREE, "tests/lab/pki")
    request(lab, "plain", "/CN=plain")
    subprocess.run([pki, lab.pki, "sign-gateway", "plain.csr", "plain.pem"], check=True,
                   cwd=lab.pki, stderr=subprocess.DEVNULL)
    certify(lab, "server", "/CN=gw1.lab.example", "plain", "extendedKeyUsage=serverAuth\n"
            "subjectAltName=DNS:gw1.lab.example,IP:10.10.0.1,IP:10.20.0.1")
    certify(lab, "uplink", "/CN=gw1", "operator", "extendedKeyUsage=clientAuth")


def read_pki(lab, *names):
    text = ""
    for name in names:
        with open(os.path.join(lab.pki, name)) as f:
            text += f.read()
    return text


def node_pids(lab, node):
    """Processes of a node as this side of it knows them: by their numbers inside."""
    p = subprocess.run(["ip", "netns", "pids", f"sallyport-{lab.name}-{node}"],
                       capture_output=True, text=True)
    found = {}
    for pid in p.stdout.split():
        try:
            with open(f"/proc/{pid}/status") as f:
                line = next(s for s in f if s.startswith("NSpid:"))
        except (FileNotFoundError, StopIteration):
            continue
        found[int(line.split()[-1])] = int(pid)
    return found


def wait_gone(pid):
    """Whoever started it may be gone before it, and its port is taken until it is."""
    for _ in range(200):
        if not os.path.exists(f"/proc/{pid}"):
            return
        time.sleep(0.05)
    check(False, f"process {pid} does not end")


class Contestant:
    """A gateway; pid() is its process inside the node."""

    def __init__(self, lab):
        self.lab = lab

    @staticmethod
    def is_here():
        return True

    def topic(self):
        """As a device writes it, so that it arrives as PREFIX, device, "bench"."""
        return "bench%u/bench"

    def pid(self):
        return int(self.lab.run("gw", "cat", f"{RUN}/pid", quiet=True).stdout)


class Sallyport(Contestant):
    name = "sallyport"

    def topic(self):
        return "bench"

    def start(self):
        self.lab.command("start", "daemon")
        self.wait_upstream()

    def wait_upstream(self):
        for _ in range(200):
            if self.lab.status()["upstream"]["connected"]:
                return
            time.sleep(0.05)
        check(False, "sallyportd does not reach the upstream")

    def stop(self):
        self.lab.command("stop", "daemon")

    def pid(self):
        return int(self.lab.run("gw", "cat", "/run/daemon.pid", quiet=True).stdout)

    def version(self):
        return self.lab.status()["version"]


class Other(Contestant):
    """One that is started here: files(), command()."""

    def path(self, name):
        return os.path.join(self.lab.dir, "gw" + RUN, name)

    def put(self, name, text):
        os.makedirs(self.path(""), exist_ok=True)
        with open(self.path(name), "w") as f:
            f.write(text)

    def start(self):
        for name, parts in {"server.pem": ["server.pem", "plain.pem", "operator.pem"],
                            "server.key": ["server.key"], "devices.pem": ["devices.pem"],
                            "uplink.pem": ["uplink.pem"], "uplink.key": ["uplink.key"],
                            "operator.pem": ["operator.pem"]}.items():
            self.put(name, read_pki(self.lab, *parts))
        self.put("configuration", self.configuration())
        log = open(os.path.join(self.lab.dir, f"log/{self.name}.log"), "w")
        self.process = self.lab.start("gw", "bash", "-c", f'echo $$ >{RUN}/pid; exec "$@"', "-",
                                      *self.command(), quiet=True, stdout=log, stderr=log)
        log.close()
        for _ in range(200):
            if self.lab.run("gw", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8883", ok=False,
                            quiet=True).returncode == 0:
                time.sleep(0.5)  # and its way upstream
                return
            time.sleep(0.05)
        check(False, f"{self.name} does not start: {self.lab.dir}/log/{self.name}.log")

    def stop(self):
        pid = node_pids(self.lab, "gw").get(self.pid())
        self.lab.stop(self.process)
        wait_gone(pid)


class Mosquitto(Other):
    name = "mosquitto"

    def configuration(self):
        return (f"listener 8883\ncafile {RUN}/devices.pem\ncertfile {RUN}/server.pem\n"
                f"keyfile {RUN}/server.key\nrequire_certificate true\n"
                "use_identity_as_username true\npersistence false\nuser root\nlog_dest stderr\n"
                "log_type error\n"
                "max_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n"
                f"connection upstream\naddress {UPSTREAM}\nbridge_cafile {RUN}/operator.pem\n"
                f"bridge_certfile {RUN}/uplink.pem\nbridge_keyfile {RUN}/uplink.key\n"
                "bridge_protocol_version mqttv311\nremote_clientid gw1\n"
                "notifications false\n"
                f'cleansession true\ntopic # out 2 "" {PREFIX}\n')

    def command(self):
        return ["mosquitto", "-c", f"{RUN}/configuration"]

    def version(self):
        p = subprocess.run(["mosquitto", "-h"], capture_output=True, text=True)
        return p.stdout.split("\n")[0]


class Flashmq(Other):
    """Its settings are those of its manual; not tried where it was not installed."""
    name = "flashmq"

    @staticmethod
    def is_here():
        return shutil.which("flashmq")

    def configuration(self):
        host, port = UPSTREAM.split(":")
        return ("log_level warning\nmax_qos_msg_pending_per_client 65535\n"
                "max_qos_bytes_pending_per_client 268435456\n"
                f"listen {{\n  protocol mqtt\n  port 8883\n  fullchain {RUN}/server.pem\n"
                f"  privkey {RUN}/server.key\n  client_verification_ca_file {RUN}/devices.pem\n"
                "  tcp_nodelay true\n}\n"
                f"bridge {{\n  address {host}\n  port {port}\n  tls on\n"
                f"  ca_file {RUN}/operator.pem\n  fullchain {RUN}/uplink.pem\n"
                f"  privkey {RUN}/uplink.key\n  publish # 2\n  remote_prefix {PREFIX}\n"
                "  protocol_version mqtt5\n  tcp_nodelay true\n}\n")

    def command(self):
        return ["flashmq", "--config-file", f"{RUN}/configuration"]

    def version(self):
        p = subprocess.run(["flashmq", "--version"], capture_output=True, text=True)
        return p.stdout.split("\n")[0]


class Nanomq(Other):
    """Its settings are those of its manual; not tried where it was not installed."""
    name = "nanomq"

    @staticmethod
    def is_here():
        return shutil.which("nanomq")

    def configuration(self):
        ssl = (f'keyfile = "{RUN}/%s.key"\ncertfile = "{RUN}/%s.pem"\n'
               f'cacertfile = "{RUN}/%s.pem"\n')
        return ('listeners.tcp { bind = "127.0.0.1:1883" }\n'
                'listeners.ssl {\nbind = "0.0.0.0:8883"\n' +
                ssl % ("server", "server", "devices") +
                "verify_peer = true\nfail_if_no_peer_cert = true\n}\n"
                "mqtt { max_inflight_window = 65535, max_mqueue_len = 65535 }\n"
                f'bridges.mqtt.up {{\nserver = "tls+mqtt-tcp://{UPSTREAM}"\nproto_ver = 5\n'
                'clientid = "gw1"\nkeepalive = 60s\nclean_start = true\nssl {\n' +
                ssl % ("uplink", "uplink", "operator") +
                '}\nforwards = [ { remote_topic = "", local_topic = "#", '
                f'prefix = "{PREFIX}" }} ]\nmax_send_queue_len = 65535\n}}\n')

    def command(self):
        return ["nanomq", "start", "--conf", f"{RUN}/configuration"]

    def version(self):
        p = subprocess.run(["nanomq", "--version"], capture_output=True, text=True)
        return (p.stdout or p.stderr).split("\n")[0]


class Aedes(Other):
    """Where node finds the packages aedes and mqtt: in NODE_PATH."""
    name = "aedes"
    FIND = 'require.resolve("aedes"); require.resolve("mqtt")'

    @staticmethod
    def is_here():
        return shutil.which("node") and subprocess.run(
            ["node", "-e", Aedes.FIND], capture_output=True).returncode == 0

    def configuration(self):
        files = lambda ca, name: {"ca": f"{RUN}/{ca}.pem", "cert": f"{RUN}/{name}.pem",  # noqa
                                  "key": f"{RUN}/{name}.key"}
        return json.dumps({"port": 8883, "prefix": PREFIX, "server": files("devices", "server"),
                           "upstream": {**files("operator", "uplink"),
                                        "url": f"mqtts://{UPSTREAM}"}})

    def command(self):
        return ["node", os.path.join(TREE, "tests/bench/aedes-gateway.js"), f"{RUN}/configuration"]

    def version(self):
        script = ('const p = require.resolve("aedes"); const d = require("path").dirname(p);'
                  'console.log(JSON.parse(require("fs").readFileSync(d + "/package.json")).version)')
        p = subprocess.run(["node", "-e", script], capture_output=True, text=True)
        return f"aedes {p.stdout.strip()}, node"


ALL = [Sallyport, Mosquitto, Flashmq, Nanomq, Aedes]
