#!/usr/bin/env bash
# mistreevous 4.3.1 runs the behaviour trees of bots, whose actions may return a promise, for a
# search that takes some ticks. A guard ends the action before its promise is settled, and later
# the tree comes to it again and starts a second search. One expects the answer of the first, which
# nobody waits for any more, to count for nothing. It counts as that of the second: the action has
# succeeded while its search still runs, or has failed because the one that was given up failed,
# and the bot walks to where it wanted to go before. And the second one's own answer then decides
# the third.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts mistreevous@4.3.1
cat >check.mjs <<'JS'
import { readFileSync } from "node:fs";
import { BehaviourTree, State } from "mistreevous";

const { version } = JSON.parse(readFileSync("node_modules/mistreevous/package.json"));
console.log(`mistreevous ${version}, Node ${process.versions.node}`);

const TREE = `root {
  sequence {
    action [Search] while(Allowed)
    action [Walk]
  }
}`;

// What happens where a first search is given up, and two later ones are begun; what is answered
// are the first one, while the second runs, and the second one, while the third runs.
async function play(firstAnswer, secondAnswer) {
  const searches = [];
  const happened = [];
  let allowed = true;
  const tree = new BehaviourTree(TREE, {
    Allowed: () => allowed,
    Search: () => {
      happened.push(`search ${searches.length + 1} begins`);
      return new Promise((resolve) => searches.push(resolve));
    },
    Walk: () => {
      happened.push("walks");
      return State.SUCCEEDED;
    },
  });
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  const tick = async () => {
    tree.step();
    happened.push(tree.getState().split(".")[1]);
    await settle();
  };
  await tick();
  allowed = false;
  await tick();
  allowed = true;
  await tick();
  for (const [index, answer] of [firstAnswer, secondAnswer].entries()) {
    searches[index](answer);
    await settle();
    happened.push(`${index + 1} answers`);
    await tick();
    await tick();
  }
  return happened.join(", ");
}

const begun = "search 1 begins, running, failed, search 2 begins, running";
const third = "search 3 begins, running";
const fourth = "search 4 begins, running";
const one = await play(State.SUCCEEDED, State.FAILED);
const other = await play(State.FAILED, State.SUCCEEDED);
console.log(`yes and no: ${one}`);
console.log(`no and yes: ${other}`);
const asStated =
  one === `${begun}, 1 answers, walks, succeeded, ${third}, 2 answers, failed, ${fourth}` &&
  other === `${begun}, 1 answers, failed, ${third}, 2 answers, walks, succeeded, ${fourth}`;
if (!asStated) {
  console.log("CHANGED: this is not what the top of this script says");
  process.exit(1);
}
console.log("AS STATED: the answer to a search that was given up is taken for that of the next");
JS
timeout 60 node check.mjs
