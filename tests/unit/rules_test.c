// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rules as iptables-save and nft print them: which of them drop INVALID packets that are forwarded. The
 * CLI is no library, so its source is compiled in here.
 */
#include <string.h>

#include "../../tools/sluice/rules.c"
#include "check.h"

/* Whether the text, of nft or of iptables-save, has such a rule. */
static bool drops(bool nft, const char *text)
{
	struct rules rules = {};
	char line[256];
	bool found;
	size_t len;

	for (; *text; text += len) {
		len = strcspn(text, "\n") + 1;
		snprintf(line, sizeof(line), "%.*s", (int)len, text);
		if (nft)
			rules_add_nft(&rules, line);
		else
			rules_add_save(&rules, "iptables", line);
	}
	found = rules_drop_invalid(&rules);
	CHECK(!rules.failed);
	rules_done(&rules);
	return found;
}

#define INVALID "-m conntrack --ctstate INVALID "
#define FILTER "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [7:420]\n:OUTPUT ACCEPT [0:0]\n"
#define SAVE(rule) drops(false, FILTER rule "\nCOMMIT\n")

TEST(iptables_forward)
{
	CHECK(SAVE("-A FORWARD " INVALID "-j DROP"));
	CHECK(SAVE("-A FORWARD -i cni0 " INVALID "-j REJECT --reject-with icmp-port-unreachable"));
	CHECK(SAVE("-A FORWARD -m state --state UNTRACKED,INVALID -j DROP"));
	CHECK(SAVE("-A FORWARD " INVALID "-j LOGDROP"));
	CHECK(drops(false, "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING " INVALID "-j DROP\n"));
}

TEST(iptables_what_does_not_drop_them)
{
	CHECK(!SAVE("-A INPUT " INVALID "-j DROP"));
	CHECK(!SAVE("-A OUTPUT " INVALID "-j DROP"));
	CHECK(!SAVE("-A FORWARD " INVALID "-j ACCEPT"));
	CHECK(!SAVE("-A FORWARD -m conntrack ! --ctstate INVALID -j DROP"));
	CHECK(!SAVE("-A FORWARD -m conntrack --ctstate NEW -j DROP"));
	CHECK(!SAVE("-A FORWARD -m comment --comment \"drop --ctstate INVALID \\\" ones\" -j ACCEPT"));
	CHECK(!SAVE("-A FORWARD -m conntrack --ctstate NEW -m comment --comment INVALID -j DROP"));
	CHECK(!SAVE("# drop INVALID"));
	CHECK(!SAVE("-A FORWARD"));
	CHECK(!SAVE("-A FORWARD -j"));
	CHECK(!drops(false, "-A FORWARD " INVALID "-j DROP\n")); /* of no table */
}

TEST(iptables_chains_that_forward_leads_to)
{
	CHECK(SAVE(":KUBE-FORWARD - [0:0]\n:A - [0:0]\n-A KUBE-FORWARD " INVALID "-j DROP\n"
		   "-A A -g KUBE-FORWARD\n-A FORWARD -m comment --comment \"rules\" -j A"));
	CHECK(!SAVE(":KUBE-FORWARD - [0:0]\n-A KUBE-FORWARD " INVALID "-j DROP\n"
		    "-A INPUT -j KUBE-FORWARD"));
	CHECK(!drops(false, FILTER "-A FORWARD -j X\nCOMMIT\n*mangle\n:X - [0:0]\n-A X " INVALID
			    "-j DROP\n")); /* an X of another table */
}

#define CHAIN(hook, rule)                                                                          \
	"table inet x {\n\tchain y {\n\t\ttype filter hook " hook                                  \
	" priority filter; policy accept;\n\t\t" rule "\n\t}\n}\n"
#define NFT(hook, rule) drops(true, CHAIN(hook, rule))

TEST(nft_forward)
{
	CHECK(NFT("forward", "ct state invalid drop"));
	CHECK(NFT("forward", "iifname \"cni0\" ct state invalid counter packets 0 bytes 0 drop"));
	CHECK(NFT("prerouting", "ct state { invalid, untracked } reject with icmp port-unreachable"));
	CHECK(NFT("postrouting", "ct state invalid,untracked log prefix \"bad \" drop"));
	CHECK(NFT("forward", "ct state vmap { established : accept, invalid : drop, new : accept }"));
	CHECK(NFT("forward", "ct state vmap { invalid : jump drop_it, new : accept }"));
}

TEST(nft_what_does_not_drop_them)
{
	CHECK(!NFT("input", "ct state invalid drop"));
	CHECK(!NFT("forward", "ct state invalid accept"));
	CHECK(!NFT("forward", "ct state != invalid drop"));
	CHECK(!NFT("forward", "ct state established accept comment \"else invalid: drop\""));
	CHECK(!NFT("forward", "ct state new drop comment \"not ct state invalid drop\""));
	CHECK(!NFT("forward", "ct state vmap { invalid : accept, new : drop }"));
	CHECK(!NFT("forward", "ct state vmap { new : drop, invalid : accept }"));
	CHECK(!NFT("forward", "ct state new jump"));
	CHECK(!drops(true, "table inet x {\n\tchain y {\n\t\tct state invalid drop\n\t}\n}\n"));
	CHECK(!drops(true, "table bridge x {\n\tchain y {\n\t\ttype filter hook forward priority 0;\n"
			   "\t\tct state invalid drop\n\t}\n}\n"));
}

TEST(nft_chains_that_forward_leads_to)
{
	static const char z[] = "table ip x {\n\tchain z {\n\t\tct state invalid drop\n\t}\n\n"
				"\tchain y {\n\t\ttype filter hook %s priority 0; policy accept;\n"
				"\t\tct state new counter packets 1 bytes 2 jump z\n\t}\n}\n"
				"table ip other {\n\tchain z {\n\t\taccept\n\t}\n}\n";
	char text[512];

	snprintf(text, sizeof(text), z, "forward");
	CHECK(drops(true, text));
	snprintf(text, sizeof(text), z, "input");
	CHECK(!drops(true, text));
	CHECK(drops(true, CHAIN("forward", "ct state vmap { new : goto b }")
		    "table inet x {\n\tset s {\n\t\ttype ipv4_addr\n\t}\n"
		    "\tchain b {\n\t\tct state invalid drop\n\t}\n}\n"));
	CHECK(!drops(true, CHAIN("forward", "jump b")
		     "table inet w {\n\tchain b {\n\t\tct state invalid drop\n\t}\n}\n"));
}
