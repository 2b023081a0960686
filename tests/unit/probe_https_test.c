// SPDX-License-Identifier: GPL-2.0-only
/*
 * HTTPS probes against real servers with a certificate that nobody has signed:
 * nginx where it is installed (kept connections, statuses), else what needs no
 * server but our own: a port that refuses, one that is silent, one without TLS.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "probe_lab.h"

#define NGINX "/usr/sbin/nginx"
#define OPENSSL "/usr/bin/openssl"
#define REFUSED "https GET /health: Connection refused, "

struct nginx {
	char dir[64];
	pid_t pid;
	__be16 port;
};

static pid_t start(const char *const *argv)
{
	pid_t pid = fork();

	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 1);
		dup2(null, 2);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	return pid;
}

static bool make_certificate(const char *dir)
{
	char key[96], cert[96];
	const char *const argv[] = {OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes",
				    "-keyout", key, "-out", cert, "-subj", "/CN=nobody",
				    "-days", "1", NULL};
	int status = -1;

	snprintf(key, sizeof(key), "%s/key.pem", dir);
	snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
	return waitpid(start(argv), &status, 0) > 0 && status == 0;
}

static void write_config(const struct nginx *nginx)
{
	char path[96];
	FILE *file;

	snprintf(path, sizeof(path), "%s/nginx.conf", nginx->dir);
	file = fopen(path, "w");
	fprintf(file,
		"daemon off; master_process off; worker_processes 1; pid %s/pid;\n"
		"error_log %s/error.log info; events {}\n"
		"http { access_log %s/access.log; client_body_temp_path %s; proxy_temp_path %s;\n"
		"fastcgi_temp_path %s; uwsgi_temp_path %s; scgi_temp_path %s;\n"
		"server { listen 127.0.0.1:%u ssl; ssl_certificate %s/cert.pem;\n"
		"ssl_certificate_key %s/key.pem;\n"
		"location /health { return 200; } location /bad { return 503; } } }\n",
		nginx->dir, nginx->dir, nginx->dir, nginx->dir, nginx->dir, nginx->dir, nginx->dir,
		nginx->dir, ntohs(nginx->port), nginx->dir, nginx->dir);
	fclose(file);
}

/* Starts nginx with TLS. False: it or openssl is not installed. */
static bool nginx_start(struct nginx *nginx)
{
	char config[96];
	const char *const argv[] = {NGINX, "-c", config, NULL};

	if (access(NGINX, X_OK) || access(OPENSSL, X_OK))
		return false;
	strcpy(nginx->dir, "/tmp/sluice-probe-XXXXXX");
	CHECK(mkdtemp(nginx->dir));
	CHECK(make_certificate(nginx->dir));
	close(server_listen("127.0.0.1", 1, &nginx->port));
	write_config(nginx);
	snprintf(config, sizeof(config), "%s/nginx.conf", nginx->dir);
	nginx->pid = start(argv);
	return true;
}

static void nginx_stop(struct nginx *nginx)
{
	static const char *const files[] = {"key.pem", "cert.pem", "nginx.conf", "error.log",
					    "access.log", "pid"};
	char path[96];

	kill(nginx->pid, SIGKILL);
	waitpid(nginx->pid, NULL, 0);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", nginx->dir, files[i]);
		unlink(path);
	}
	rmdir(nginx->dir);
}

/* How many lines of a log of nginx hold `text`. */
static unsigned nginx_logged(const struct nginx *nginx, const char *log, const char *text)
{
	char path[96], line[4096];
	unsigned n = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", nginx->dir, log);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		n += strstr(line, text) != NULL;
	if (file)
		fclose(file);
	return n;
}

TEST(a_real_server_with_its_own_certificate)
{
	const struct probe_health *health;
	struct model_probe probe;
	struct nginx nginx;
	struct lab lab;

	if (!nginx_start(&nginx))
		SKIP("needs nginx and openssl (Debian packages nginx-light, openssl)");
	lab_open(&lab);
	probe = lab_probe(MODEL_PROBE_HTTPS, nginx.port);
	probe.timeout_ms = 1000;
	health = lab_ask(&lab, &probe);
	/* It may refuse at first, and is then asked once a second. */
	LAB_WAIT(&lab, health->known && !health->down);
	CHECK_STR(lab_last(&lab)->evidence, "https GET /health: 200");
	LAB_WAIT(&lab, nginx_logged(&nginx, "access.log", "GET /health HTTP/1.1\" 200") >= 10);
	CHECK(nginx_logged(&nginx, "access.log", "sluice-probe/") >= 10);
	CHECK(!health->suspect);

	probe.path = "/bad";
	lab_ask(&lab, &probe);
	LAB_WAIT(&lab, health->down);
	CHECK_STR(lab_last(&lab)->evidence, "https GET /bad: 503, 3 of 3");
	probe.path = "/health";
	lab_ask(&lab, &probe);
	LAB_WAIT(&lab, !health->down);

	/* Stopped, it is silent; killed, its port refuses. */
	kill(nginx.pid, SIGSTOP);
	LAB_WAIT(&lab, health->suspect);
	kill(nginx.pid, SIGCONT);
	LAB_WAIT(&lab, !health->suspect);
	kill(nginx.pid, SIGKILL);
	LAB_WAIT(&lab, health->down);
	CHECK(lab_last(&lab)->refused);
	/* The first refusal, or the next if it came before we looked. */
	CHECK(!strncmp(lab_last(&lab)->evidence, REFUSED, strlen(REFUSED)));
	lab_close(&lab);
	nginx_stop(&nginx);
}

TEST(the_same_server_over_plain_http_says_400)
{
	const struct probe_health *health;
	struct model_probe probe;
	struct nginx nginx;
	struct lab lab;

	if (!nginx_start(&nginx))
		SKIP("needs nginx and openssl (Debian packages nginx-light, openssl)");
	lab_open(&lab);
	probe = lab_probe(MODEL_PROBE_HTTP, nginx.port);
	health = lab_ask(&lab, &probe);
	LAB_WAIT(&lab, nginx_logged(&nginx, "access.log", "GET /health HTTP/1.1\" 400") >= 2);
	CHECK(health->down);
	lab_close(&lab);
	nginx_stop(&nginx);
}

TEST(a_refusing_port)
{
	const struct probe_health *health;
	struct model_probe probe;
	struct lab lab;
	__be16 port;

	close(server_listen("127.0.0.1", 1, &port));
	lab_open(&lab);
	probe = lab_probe(MODEL_PROBE_HTTPS, port);
	health = lab_ask(&lab, &probe);
	LAB_WAIT(&lab, health->down);
	CHECK(lab_last(&lab)->refused);
	lab_close(&lab);
}

TEST(a_server_without_tls_is_bad_and_a_silent_one_silent)
{
	static const struct server_manner plain = {.answer = "HTTP/1.1 400 Bad Request\r\n\r\n"};
	static const struct server_manner silent = {.answer = NULL};
	const struct probe_health *health;
	struct server server = {.manner = &plain};
	struct model_probe probe;
	struct lab lab;

	server_start(&server, "127.0.0.1", 64);
	lab_open(&lab);
	probe = lab_probe(MODEL_PROBE_HTTPS, server.port);
	health = lab_ask(&lab, &probe);
	LAB_WAIT(&lab, health->down);
	CHECK(!lab_last(&lab)->refused);
	CHECK(strstr(lab_last(&lab)->evidence, "https GET /health: "));
	CHECK(strstr(lab_last(&lab)->evidence, ", 1 of 3")); /* an answer, and a bad one */
	lab_close(&lab);

	server.manner = &silent;
	lab_open(&lab);
	health = lab_ask(&lab, &probe);
	LAB_WAIT(&lab, health->down);
	CHECK_STR(lab_last(&lab)->evidence, "https GET /health: no answer within 200 ms, 3 of 3");
	lab_close(&lab);
	server_stop(&server);
}
