var r=/\[\[replay:([^[\]]*)\]\]/g;function n(t){return t.replace(r,"").trim()||t}function e(t){return[...t.matchAll(r)].at(-1)?.[1]?.trim().split(" ",1)[0]}export{n as a,e as b};
