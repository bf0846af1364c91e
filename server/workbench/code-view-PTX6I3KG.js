import{a}from"./chunk-TEUU5BDI.js";import"./chunk-J62DFWIL.js";import"./chunk-FDL3S2JU.js";import"./chunk-WAUWRNOZ.js";import"./chunk-ODD536TI.js";export{a as default};
