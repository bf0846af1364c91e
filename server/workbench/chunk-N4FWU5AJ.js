var t=/\[\[replay:([^[\]]*)\]\]/g;function n(r){return r.replace(t,"").trim()||r}function e(r){return[...r.matchAll(t)].at(-1)?.[1]}export{n as a,e as b};
