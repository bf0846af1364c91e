import{e as a}from"./chunk-F2Q5D4ZF.js";import"./chunk-FDL3S2JU.js";import"./chunk-4VDPOUJR.js";import"./chunk-CIRYA6SR.js";import"./chunk-M7TZVDD3.js";export{a as default};
