// SPDX-License-Identifier: GPL-2.0-only
/*
 * sluiced: reads the command line, checks what must hold before anything is
 * loaded, and runs the agent (or takes Sluice away). Exit: 0, 1 failed, 2 usage.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "agent.h"
#include "log.h"
#include "maps.h"
#include "node_device.h"
#include "others.h"
#include "pin_dir.h"
#include "port_range.h"
#include "rights.h"

#define DEFAULT_POD_INTERFACES "veth*,lxc*,cali*,eni*"
#define DEFAULT_LISTEN "127.0.0.1:9911"
#define ENDPOINT_HOLD_S 60
#define ENDPOINT_HOLD_MAX_S 86400
#define EXIT_USAGE 2
#define NOT_YET SIZE_MAX

static const char usage[] =
	"usage: sluiced --manifests DIR [OPTION...]\n"
	"       sluiced --unload [--bpffs DIR]\n"
	"\n"
	"Steers new connections to the least-loaded healthy replica, in the kernel.\n"
	"\n"
	"  --manifests DIR            Kubernetes objects as YAML or JSON files, watched for changes\n"
	"  --pod-interfaces GLOB,...  host side of pods (default: " DEFAULT_POD_INTERFACES ")\n"
	"  --uplinks NAME,...         where outside clients come in (default: the default route's)\n"
	"  --fast-path                packets bypass the node's stack, netfilter with it, where they can\n"
	"  --bpffs DIR                where maps, programs and links are pinned\n"
	"                             (default: " MAPS_DEFAULT_BPFFS ")\n"
	"  --listen ADDR:PORT         /metrics, /healthz, /readyz, /status (default: " DEFAULT_LISTEN ")\n"
	"  --node-name NAME           as in nodeName of endpoints (default: the host's name)\n"
	"  --peers N                  agents in the cluster: remote replicas are probed N times as\n"
	"                             seldom (default: the nodes that have replicas, up to 256)\n"
	"  --endpoint-hold SECONDS    how long endpoints stay when most leave their list at once\n"
	"                             (default: 60; 0: the list is believed at once)\n"
	"  --snat-ports MIN-MAX       source ports towards remote replicas (default: 1024-29999)\n"
	"  --xdp auto|on|off          accelerate uplinks by native XDP (default: auto: where the\n"
	"                             device has a driver of its own that can)\n"
	"  --allow-external-ips CIDR,...   ranges in which externalIPs are served (default: none)\n"
	"  --log-level error|warn|info|debug    --log-format text|json\n"
	"  --unload                   remove every program, link, map and qdisc of ours, and exit\n"
	"  --version  --help\n"
	"\n"
	"SIGTERM ends the agent and leaves everything working in the kernel; the next one adopts it.\n"
	"Not in this version: --kubernetes, --bus.\n"
	"\n"
	"Try:  sluice check -f DIR      what would become of these manifests\n"
	"      sluice doctor            what this node lacks\n"
	"      sluice replica show      once it runs\n";

struct settings {
	struct agent_options agent;
	char node_name[256];
	enum log_level level;
	bool json, unload;
};

static int complain(const char *what, const char *value, const char *help)
{
	fprintf(stderr, "sluiced: %s \"%s\": %s\n", what, value, help);
	return -EINVAL;
}

static int parse_number(const char *text, unsigned long max, unsigned long *ret)
{
	char *end;

	errno = 0;
	*ret = strtoul(text, &end, 10);
	return errno || end == text || *end || text[0] == '-' || *ret > max ? -EINVAL : 0;
}

static int parse_snat_ports(const char *text, struct datapath_options *ret)
{
	unsigned min, max;
	int end = 0;

	if (sscanf(text, "%u-%u%n", &min, &max, &end) != 2 || text[end] || min < 1 ||
	    max > 65535 || min > max)
		return -EINVAL;
	ret->snat_port_min = min;
	ret->snat_port_max = max;
	return 0;
}

static int parse_cidrs(const char *text, struct agent_options *ret)
{
	char one[64];

	for (const char *at = text; *at;) {
		size_t len = strcspn(at, ",");
		struct addr_cidr *list = realloc(ret->external_cidrs,
						 (ret->n_external_cidrs + 1) * sizeof(*list));

		if (!list)
			return -ENOMEM;
		ret->external_cidrs = list;
		snprintf(one, sizeof(one), "%.*s", (int)len, at);
		if (addr_parse_cidr(one, &list[ret->n_external_cidrs]))
			return -EINVAL;
		ret->n_external_cidrs++;
		at += len + (at[len] == ',');
	}
	return 0;
}

/* ---- options: each takes its text into *s; 1: done, exit 0; -errno: said why ----------------- */
typedef int option_fn(const char *text, struct settings *s);

static int take_peers(const char *text, struct settings *s)
{
	unsigned long number;

	if (parse_number(text, 100000, &number) || !number)
		return complain("--peers", text, "must be a number from 1");
	s->agent.peers = number;
	return 0;
}

static int take_hold(const char *text, struct settings *s)
{
	unsigned long seconds;

	if (parse_number(text, ENDPOINT_HOLD_MAX_S, &seconds))
		return complain("--endpoint-hold", text, "must be seconds, 0 to 86400");
	s->agent.hold_s = seconds;
	return 0;
}

static int take_snat_ports(const char *text, struct settings *s)
{
	if (parse_snat_ports(text, &s->agent.datapath))
		return complain("--snat-ports", text, "must be MIN-MAX, as in 1024-29999");
	return 0;
}

static int take_xdp(const char *text, struct settings *s)
{
	if (xdp_mode_parse(text, &s->agent.datapath.xdp))
		return complain("--xdp", text, "must be auto, on or off");
	return 0;
}

static int take_cidrs(const char *text, struct settings *s)
{
	if (parse_cidrs(text, &s->agent))
		return complain("--allow-external-ips", text,
				"must be CIDRs, as in 192.0.2.0/24,2001:db8::/32");
	return 0;
}

static int take_log_level(const char *text, struct settings *s)
{
	if (log_level_parse(text, &s->level))
		return complain("--log-level", text, "must be error, warn, info or debug");
	return 0;
}

static int take_log_format(const char *text, struct settings *s)
{
	s->json = !strcmp(text, "json");
	if (!s->json && strcmp(text, "text"))
		return complain("--log-format", text, "must be text or json");
	return 0;
}

static int take_fast_path(const char *text, struct settings *s)
{
	s->agent.datapath.fast_path = true;
	return 0;
}

static int take_unload(const char *text, struct settings *s)
{
	s->unload = true;
	return 0;
}

static int take_version(const char *text, struct settings *s)
{
	printf("sluiced %s\n", SLUICE_VERSION);
	return 1;
}

static int take_help(const char *text, struct settings *s)
{
	fputs(usage, stdout);
	return 1;
}

/* An option goes to a function, or its text to a field of struct settings; neither: not in this
 * version. */
static const struct option_row {
	const char *name;
	int has_arg;
	option_fn *take;
	size_t text_at; /* offset of a const char * */
} options[] = {
	{"manifests", required_argument, NULL, offsetof(struct settings, agent.manifests)},
	{"pod-interfaces", required_argument, NULL,
	 offsetof(struct settings, agent.interfaces.pod_globs)},
	{"uplinks", required_argument, NULL, offsetof(struct settings, agent.interfaces.uplinks)},
	{"fast-path", no_argument, take_fast_path, 0},
	{"bpffs", required_argument, NULL, offsetof(struct settings, agent.datapath.bpffs)},
	{"listen", required_argument, NULL, offsetof(struct settings, agent.listen)},
	{"node-name", required_argument, NULL, offsetof(struct settings, agent.node_name)},
	{"peers", required_argument, take_peers, 0},
	{"endpoint-hold", required_argument, take_hold, 0},
	{"snat-ports", required_argument, take_snat_ports, 0},
	{"xdp", required_argument, take_xdp, 0},
	{"allow-external-ips", required_argument, take_cidrs, 0},
	{"log-level", required_argument, take_log_level, 0},
	{"log-format", required_argument, take_log_format, 0},
	{"unload", no_argument, take_unload, 0},
	{"version", no_argument, take_version, 0},
	{"help", no_argument, take_help, 0},
	{"kubernetes", no_argument, NULL, NOT_YET},
	{"bus", required_argument, NULL, NOT_YET},
};
#define OPTIONS (sizeof(options) / sizeof(options[0]))
#define OPTION_ID 256 /* of the first row, for getopt_long(): above every character */

/* 0; 1: nothing more to do; -errno: said why. */
static int take_option(const struct option_row *option, struct settings *s)
{
	if (option->take)
		return option->take(optarg, s);
	if (option->text_at == NOT_YET)
		return complain("option", option->name, "this version has not got it yet");
	*(const char **)((char *)s + option->text_at) = optarg;
	return 0;
}

/* 0; 1: nothing more to do; -errno: said why. */
static int parse_options(int argc, char **argv, struct settings *s)
{
	struct option long_options[OPTIONS + 1] = {};
	int id, result = 0;

	for (size_t i = 0; i < OPTIONS; i++)
		long_options[i] = (struct option){options[i].name, options[i].has_arg, NULL,
						  OPTION_ID + i};
	while (!result && (id = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		if (id == 'h')
			return take_help(NULL, s);
		if (id < OPTION_ID) { /* getopt has said why */
			fprintf(stderr, "see sluiced --help\n");
			return -EINVAL;
		}
		result = take_option(&options[id - OPTION_ID], s);
	}
	if (result)
		return result;
	if (optind < argc)
		return complain("argument", argv[optind], "unexpected; see sluiced --help");
	if (!s->unload && !s->agent.manifests) {
		fprintf(stderr, "sluiced: name a directory of manifests: --manifests DIR (see "
				"sluiced --help)\n");
		return -EINVAL;
	}
	return 0;
}

/* Before anything is made: a start that cannot end well leaves no trace. */
static int check_rights(void)
{
	char missing[RIGHTS_LEN];

	if (!rights_missing(rights_effective(), missing))
		return 0;
	log_error("this process lacks %s; sluiced needs " RIGHTS_NEEDED ": run it as root, or grant it "
		  "these", missing);
	return -EPERM;
}

/* Source-NAT ports that the node itself might use would mix up two connections. */
static int check_ports(const struct datapath_options *options)
{
	const struct port_range node = PORT_RANGE_NODE_PORTS, local = port_range_local();
	const struct port_range snat = {options->snat_port_min, options->snat_port_max};

	if (port_range_overlap(snat, local)) {
		log_error("--snat-ports %u-%u overlaps the node's own ports %u-%u (%s): choose "
			  "another range, or change that one", snat.min, snat.max, local.min,
			  local.max, PORT_RANGE_LOCAL_PATH);
		return -EINVAL;
	}
	if (port_range_overlap(snat, node)) {
		log_error("--snat-ports %u-%u overlaps Kubernetes' node ports %u-%u: choose another "
			  "range", snat.min, snat.max, node.min, node.max);
		return -EINVAL;
	}
	return 0;
}

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	char line[1024];

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = '\0';
	log_debug("%s", line);
	return 0;
}

/* The node's own clients' pair, unless another agent uses it. 1: removed; 0: not; -errno: said why. */
static int remove_pair(const char *bpffs)
{
	char directory[PATH_MAX];
	int result = others_at(bpffs, SL_NODE_DEVICE, directory);

	if (result > 0) {
		log_info("interface " SL_NODE_DEVICE " stays: it is of the Sluice whose pins are "
			 "below %s", directory);
		return 0;
	}
	result = result ?: node_device_remove();
	if (result < 0)
		log_error("cannot remove the interface " SL_NODE_DEVICE ": %s%s; by hand: ip link del "
			  SL_NODE_DEVICE, strerror(-result), pin_dir_hint(result));
	return result;
}

static int unload(const char *bpffs)
{
	char error[1024];
	unsigned removed = 0;
	int found = pin_dir_find(bpffs, error, sizeof(error)), pair;

	if (found < 0 || datapath_unload(bpffs, &removed, error, sizeof(error))) {
		log_error("%s", error);
		return EXIT_FAILURE;
	}
	pair = remove_pair(bpffs);
	if (pair < 0)
		return EXIT_FAILURE;
	if (found)
		log_info("nothing of Sluice is left below %s", bpffs);
	else if (removed || pair)
		log_info("%s was gone already; what was left at interfaces is removed", bpffs);
	else
		log_info("nothing found below %s: no such directory (--bpffs names another)", bpffs);
	return EXIT_SUCCESS;
}

/* The pool's threads and the loop take turns at what is read: an arena of memory for each of them
 * would keep what it once needed. What is large goes back at once. */
static void keep_memory_together(void)
{
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
}

int main(int argc, char **argv)
{
	struct settings s = {
		.agent = {.listen = DEFAULT_LISTEN,
			  .hold_s = ENDPOINT_HOLD_S,
			  .datapath = {.bpffs = MAPS_DEFAULT_BPFFS,
				       .snat_port_min = PORT_RANGE_SNAT.min,
				       .snat_port_max = PORT_RANGE_SNAT.max},
			  .interfaces = {.pod_globs = DEFAULT_POD_INTERFACES}},
		.level = LOG_LEVEL_INFO,
	};
	int result = parse_options(argc, argv, &s);

	if (result)
		return result > 0 ? EXIT_SUCCESS : EXIT_USAGE;
	log_init(s.level, s.json);
	keep_memory_together();
	libbpf_set_print(print_libbpf);
	if (s.unload)
		return unload(s.agent.datapath.bpffs);
	if (!s.agent.node_name) {
		gethostname(s.node_name, sizeof(s.node_name) - 1);
		s.agent.node_name = s.node_name;
	}
	if (check_rights() || check_ports(&s.agent.datapath))
		return EXIT_FAILURE;
	result = agent_run(&s.agent);
	free(s.agent.external_cidrs);
	return result ? EXIT_FAILURE : EXIT_SUCCESS;
}
